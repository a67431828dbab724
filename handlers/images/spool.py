"""Compressed archives made plain in a scratch file, so that files can be found in them by offset."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.from_thread
from anyio.to_thread import run_sync

from handlers import compression
from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long

PREFIX = "archive-"


@asynccontextmanager
async def plain_file(path: Path, scratch: Path, name: str) -> AsyncIterator[Path]:
    """The file itself if it isn't compressed, else an expanded copy below `scratch` that goes with the context.

    `name` makes the copy's name unique. Raises InvalidParameter for damaged data, SystemFailure.
    """
    if not await run_sync(_is_compressed, path):
        yield path
        return
    expanded = scratch / f"{PREFIX}{name}"
    try:
        await run_long(_expand, path, expanded)
        yield expanded
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(lambda: expanded.unlink(missing_ok=True))


def _is_compressed(path: Path) -> bool:
    with attempt(f"read {path}"), path.open("rb") as file:
        return compression.is_compressed(file)


def _expand(path: Path, target: Path) -> None:
    with attempt(f"expand {path}"):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("rb") as source, target.open("xb") as copy:
            for block in compression.blocks(source):
                copy.write(block)
                anyio.from_thread.check_cancelled()
