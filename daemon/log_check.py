"""Has files of the log checked beside their fold; without it a boot over a long history would take far longer."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.abc

from events.errors import SystemFailure
from events.log import LogBroken
from events.segment_check import WRONG

_PROGRAM: Final = (sys.executable, "-I", "-m", "events.segment_check")


@asynccontextmanager
async def checked_apart(files: Sequence[Path]) -> AsyncIterator[None]:
    """Check complete files while the block runs; it ends, or fails, only once they are checked.

    Raises LogBroken that names the first bad sequence, also where the block failed on what is wrong there;
    SystemFailure when they could not be checked.
    """
    async with await anyio.open_process([*_PROGRAM, *map(str, files)], stdin=None, stderr=None) as process:
        try:
            yield
        except Exception:
            await _raise_what_is_wrong(process)
            raise
        await _raise_what_is_wrong(process)


async def _raise_what_is_wrong(process: anyio.abc.Process) -> None:
    told = b"".join([part async for part in process.stdout or ()])  # type: ignore[union-attr]  # it is a pipe
    status = await process.wait()
    if status == WRONG:
        raise LogBroken(told.decode(errors="replace"))
    if status:
        raise SystemFailure(f"the event log could not be checked: the process that does so ended with {status}")
