"""Bounds for directories by project quotas; without it overlay2 could give no container a size."""

import threading
from pathlib import Path
from typing import Self

from handlers.kernel import quotas
from handlers.kernel.calls import attempt

_FIRST_PROJECT = 100_000  # administrators number their own from 1


class ProjectQuota:
    """Gives each bounded directory below `root` a project of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._one_at_a_time = threading.Lock()

    @classmethod
    def of(cls, root: Path) -> Self | None:
        """None where the file system has no project quotas, or doesn't enforce them."""
        return cls(root) if quotas.has_project_quotas(root) else None

    def limit(self, directory: Path, size_bytes: int) -> None:
        """Bound a directory just below the root; what is in it follows. Raises SystemFailure. Blocking."""
        with self._one_at_a_time:
            project = 1 + max((self._project(path) for path in self._root.iterdir()), default=0)
            project = max(project, _FIRST_PROJECT)
            with attempt(f"give {directory} a quota"):
                for path in (directory, *filter(Path.is_dir, directory.iterdir())):
                    quotas.set_project(path, project)
            quotas.set_limit(self._root, project, size_bytes)

    @staticmethod
    def _project(path: Path) -> int:
        try:
            return quotas.project_of(path)
        except OSError:  # gone meanwhile, or no directory
            return 0
