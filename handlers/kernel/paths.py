"""Which paths exist; asked in threads of their own, for a path of a user's may lie on a file system that hangs."""

from collections.abc import Iterable
from pathlib import Path

from handlers.kernel.threads import run_foreign


async def existing(paths: Iterable[str]) -> frozenset[str]:
    """Those that lead to something."""
    wanted = frozenset(paths)
    if not wanted:
        return wanted
    return await run_foreign(_existing, wanted)


def _existing(paths: frozenset[str]) -> frozenset[str]:
    return frozenset(path for path in paths if Path(path).exists())
