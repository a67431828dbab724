"""FetchImage: a file system that lies behind a URL becomes an image; without it `docker import URL` took two steps."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from events.messages.image import FetchImage, ImportImage
from handlers.images.ports import Stream
from handlers.kernel.calls import attempt
from handlers.progress import Note

PREFIX = "fetched-"
_BUFFER_BYTES = 1024 * 1024


def importing(command: FetchImage, path: Path) -> ImportImage:
    """What is to be done with the file once it is there."""
    return ImportImage(
        path=str(path),
        source=command.url,
        reference=command.reference,
        message=command.message,
        changes=command.changes,
        platform=command.platform,
    )


@asynccontextmanager
async def fetched(stream: Stream, scratch: Path, name: str, tell: Callable[[Note], None]) -> AsyncIterator[Path]:
    """What comes, in a file below `scratch` that goes with the context. `name` makes the file's name unique."""
    path = scratch / f"{PREFIX}{name}"
    try:
        await _write(stream, path, tell)
        yield path
    finally:
        with anyio.CancelScope(shield=True), attempt(f"remove {path}"):
            await run_sync(lambda: path.unlink(missing_ok=True))


async def _write(stream: Stream, path: Path, tell: Callable[[Note], None]) -> None:
    with attempt(f"write {path}"):
        await run_sync(lambda: path.parent.mkdir(parents=True, exist_ok=True, mode=0o700))
        async with await anyio.open_file(path, "xb", buffering=_BUFFER_BYTES) as file:
            current_bytes = 0
            async for chunk in stream.chunks:
                await file.write(chunk)
                current_bytes += len(chunk)
                if stream.total_bytes > 0:
                    tell(_note(current_bytes, stream.total_bytes))


def _note(current_bytes: int, total_bytes: int) -> Note:
    return Note(status="Importing", has_detail=True, current_bytes=current_bytes, total_bytes=total_bytes)
