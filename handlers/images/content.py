"""The exact bytes of image configurations on disk, by digest; without them an image's id could never be shown true."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anyio.to_thread import run_sync

from events.errors import SystemFailure
from handlers.kernel.calls import attempt

_UNFINISHED = ".new"


class ContentStore:
    """Files `<directory>/sha256/<hex>`, each complete and on disk (fsync) from the moment that it has its name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "sha256"

    async def write(self, digest: str, content: bytes) -> None:
        """Keep content. Raises SystemFailure."""
        await run_sync(self._write, self._path(digest), content)

    async def read(self, digest: str) -> bytes:
        """Content, verified. Raises SystemFailure."""
        with attempt(f"read {digest}"):
            content = await run_sync(self._path(digest).read_bytes)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise SystemFailure(f"the content of {digest} is damaged on disk")
        return content

    async def delete(self, digest: str) -> None:
        """Forget content; absent is fine. Raises SystemFailure."""
        with attempt(f"remove {digest}"):
            await run_sync(lambda: self._path(digest).unlink(missing_ok=True))

    async def list(self) -> frozenset[str]:
        """File names of everything that is there, finished or not."""
        with attempt(f"list {self._directory}"):
            return await run_sync(self._names)

    async def discard(self, name: str) -> bool:
        """Remove a file that `list` told of; False when it isn't there any more. Raises SystemFailure."""
        with attempt(f"remove {name}"):
            try:
                await run_sync((self._directory / name).unlink)
            except FileNotFoundError:
                return False
        return True

    def _names(self) -> frozenset[str]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return frozenset(path.name for path in self._directory.iterdir())

    def _write(self, path: Path, content: bytes) -> None:
        with attempt(f"write {path}"):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_suffix(_UNFINISHED)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            with _opened(self._directory) as descriptor:
                os.fsync(descriptor)

    def _path(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")


def digest_of(name: str) -> str:
    """The digest that a file below the store belongs to, finished or not."""
    return f"sha256:{name.removesuffix(_UNFINISHED)}"


def is_unfinished(name: str) -> bool:
    """Whether a file has not got its final name yet."""
    return name.endswith(_UNFINISHED)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
