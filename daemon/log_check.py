"""Has files of the log checked beside their fold; without it a boot over a long history would take far longer."""

import fcntl
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import anyio.abc
from anyio.to_thread import run_sync

from events.codec import Record
from events.errors import SystemFailure
from events.segment_check import read_page

_PROGRAM: Final = (sys.executable, "-I", "-m", "events.segment_check")
_PIPE_BYTES: Final = 1 << 20  # a page, so that the next one is made while it is folded


@asynccontextmanager
async def checked_apart(files: Sequence[Path]) -> AsyncIterator[AsyncIterator[Sequence[Record]]]:
    """Check files in a process of its own, and give their records, page by page, as they are checked.

    The pages raise LogBroken that names the first bad sequence, SystemFailure when files could not be checked.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pages:
        try:
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            process = await anyio.open_process([*_PROGRAM, *map(str, files)], stdin=None, stdout=writing, stderr=None)
        finally:
            os.close(writing)
        async with process:
            try:
                yield _pages(pages, process)
            finally:
                pages.close()  # who still writes ends


async def _pages(pages: BinaryIO, process: anyio.abc.Process) -> AsyncIterator[Sequence[Record]]:
    while records := await run_sync(read_page, pages):
        yield records
    if status := await process.wait():
        raise SystemFailure(f"the event log could not be checked: the process that does so ended with {status}")
