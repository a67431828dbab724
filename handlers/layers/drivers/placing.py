"""An archive's entries put into a directory of a container; `docker cp` into one stands on it.

As with a layer, but what stands there counts: a directory merges with a directory, anything else makes way, unless the
client won't have that. Runs in the helper process.
"""

import os
import stat
import tarfile
from collections.abc import Sequence

from typing_extensions import override

from events.errors import InvalidParameter
from handlers.layers.drivers.extraction import Extraction
from handlers.layers.drivers.whiteouts import lstat
from handlers.tar_entries import Stream


class WontOverwrite(InvalidParameter):
    """A directory would become something else, or something else a directory."""

    def __init__(self, path: str, directory: str, *, with_directory: bool) -> None:
        old, new = ("non-directory", "directory") if with_directory else ("directory", "non-directory")
        place = os.path.join(directory, path)  # noqa: PTH118 - a container's path
        super().__init__(f'cannot overwrite {old} "{place}" with {new} "{directory}"')


class Placing(Extraction):
    """Into the working directory."""

    def __init__(self, stream: Stream, directory: str, *, keeps_kind: bool, owner: tuple[int, int] | None) -> None:
        """`keeps_kind`: directories stay directories, and nothing else becomes one. `owner`: of everything placed."""
        super().__init__(stream, _NoMarks())
        self._directory_name = directory
        self._keeps_kind, self._owner = keeps_kind, owner

    @override
    def _place(self, path: str, entry: tarfile.TarInfo) -> None:
        if not path and entry.isdir():
            return  # the directory itself stays as it is
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if self._keeps_kind:
            self._check(path, entry)
        self._make(path, entry)

    def _check(self, path: str, entry: tarfile.TarInfo) -> None:
        found = lstat(path)
        if found is not None and stat.S_ISDIR(found.st_mode) != entry.isdir():
            raise WontOverwrite(path, self._directory_name, with_directory=entry.isdir())


class _NoMarks:
    """Names are names here, whatever they begin with."""

    def hide(self, path: str) -> None:
        """See `Whiteouts`. Never asked for."""

    def hide_content(self, directory: str) -> None:
        """See `Whiteouts`. Never asked for."""

    def placed(self, path: str, *, replaced: os.stat_result | None) -> None:
        """See `Whiteouts`."""

    def finish(self, lineage: Sequence[int]) -> None:
        """See `Whiteouts`."""
