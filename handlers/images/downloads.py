"""Blobs fetched into files: each once however many want it, resumed where it was cut off, verified at its end.

A file is named by its digest. It is locked (flock) as long as bytes may come, so that a reader in another process can
tell an end from a pause. What was cut off stays for the next try, until it is stale.
"""

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
from anyio.to_thread import run_sync

from events.errors import EngineError, SystemFailure
from events.messages.image import Blob
from handlers.images.ports import Repository
from handlers.images.registry_errors import RegistryRefused, RegistryUnreachable, WrongContent, is_passing
from handlers.kernel.calls import attempt
from handlers.kernel.growing import GrowingFile
from handlers.kernel.threads import run_long

LOGGER = logging.getLogger(__name__)
BUFFER_BYTES = 1024 * 1024
STALE_S = 24 * 3600.0
_LONGEST_PAUSE_S = 30


class Download:
    """A blob on its way, or there. `begun`: its file can be read as it grows; `ended`: see `error`."""

    def __init__(self, blob: Blob, path: Path) -> None:
        self.blob, self.path = blob, path
        self.begun, self.ended = anyio.Event(), anyio.Event()
        self.error: EngineError | None = None
        self.current_bytes = 0
        self.pause_s = 0  # before the next attempt; 0 while bytes come
        self.users = 0
        self.is_spent = False  # somebody has all that it was fetched for
        self.scope = anyio.CancelScope()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        """Wait for news."""
        await self._changed.wait()

    def tell(self) -> None:
        """There is news."""
        self._changed.set()
        self._changed = anyio.Event()


class Downloads:
    """All that are under way, by digest."""

    def __init__(
        self, directory: Path, tasks: anyio.abc.TaskGroup, *, at_once: Callable[[], int], attempts: Callable[[], int]
    ) -> None:
        """`tasks` owns what runs for several users; the two numbers are read at every use."""
        self._directory, self._tasks = directory, tasks
        self._at_once, self._attempts = at_once, attempts
        self._limiter = anyio.CapacityLimiter(1)
        self._by_digest: dict[str, Download] = {}

    @asynccontextmanager
    async def of(self, blob: Blob, repository: Repository) -> AsyncIterator[Download]:
        """Fetch a blob, or join who fetches it; it goes on as long as anybody is inside."""
        download = await self._present(blob, repository)
        download.users += 1
        try:
            yield download
        finally:
            download.users -= 1
            if not download.users:
                with anyio.CancelScope(shield=True):
                    await self._leave(download)

    async def remove_stale(self, now_s: float) -> None:
        """Remove files that nobody has touched for a day and nobody uses."""
        used = {download.path for download in self._by_digest.values()}
        await run_sync(_remove_stale, self._directory, used, now_s - STALE_S)

    async def _present(self, blob: Blob, repository: Repository) -> Download:
        """The running one of this digest, once an abandoned one is gone."""
        while (found := self._by_digest.get(blob.digest)) is not None and found.scope.cancel_called:
            await found.ended.wait()
            self._forget(found)
        if found is not None and (found.error is None or not found.ended.is_set()):
            return found
        self._limiter.total_tokens = self._at_once()
        download = self._by_digest[blob.digest] = Download(blob, self._directory / blob.digest.partition(":")[2])
        self._tasks.start_soon(self._run, download, repository)
        return download

    async def _leave(self, download: Download) -> None:
        download.scope.cancel("nobody wants it any more")
        await download.ended.wait()
        if download.users:
            return
        self._forget(download)
        if download.is_spent:
            with attempt(f"remove {download.path}"):
                await run_sync(lambda: download.path.unlink(missing_ok=True))

    def _forget(self, download: Download) -> None:
        if self._by_digest.get(download.blob.digest) is download:
            del self._by_digest[download.blob.digest]

    async def _run(self, download: Download, repository: Repository) -> None:
        try:
            with download.scope:
                async with self._limiter:
                    await Fetching(download, repository, self._attempts()).run()
        except EngineError as error:
            download.error = error
        except Exception as error:
            LOGGER.exception("fetching %s failed", download.blob.digest)
            download.error = SystemFailure(f"{type(error).__name__}: {error}")
        finally:
            if download.scope.cancelled_caught:
                download.error = SystemFailure("the download was abandoned")
            download.begun.set()
            download.ended.set()
            download.tell()


class Fetching:
    """One run of a download."""

    def __init__(self, download: Download, repository: Repository, attempts: int) -> None:
        self._download, self._blob, self._repository = download, download.blob, repository
        self._attempts = attempts
        self._digest = hashlib.sha256()

    async def run(self) -> None:
        """Fetch what is missing and verify the whole. Raises WrongContent, RegistryRefused, RegistryUnreachable."""
        file = await run_sync(GrowingFile, self._download.path)
        try:
            await self._take_up(file)
            await self._fetch_all(file)
            if f"sha256:{self._digest.hexdigest()}" != self._blob.digest:
                raise WrongContent(f"filesystem layer verification failed for digest {self._blob.digest}")
        except EngineError as error:
            self._download.error = error  # before the lock goes: who reads the file asks for it then
            if isinstance(error, WrongContent):
                await run_sync(file.discard)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(file.close)

    async def _take_up(self, file: GrowingFile) -> None:
        """Digest what an earlier run has left."""
        if file.size > self._blob.size_bytes:
            await run_sync(file.clear)
        if file.size:
            await run_long(file.digest_into, self._digest)
        self._download.current_bytes = file.size
        self._download.begun.set()
        self._download.tell()

    async def _fetch_all(self, file: GrowingFile) -> None:
        failures = 0
        while file.size < self._blob.size_bytes:
            before = file.size
            try:
                await self._fetch(file)
            except (RegistryUnreachable, RegistryRefused) as error:
                failures = 1 if file.size > before else failures + 1
                if not is_passing(error) or failures >= self._attempts:
                    raise
                await self._pause(failures, error)

    async def _pause(self, failures: int, error: EngineError) -> None:
        LOGGER.info("download of %s failed, it is tried again: %s", self._blob.digest, error)
        for left_s in range(min(failures, _LONGEST_PAUSE_S), 0, -1):
            self._download.pause_s = left_s
            self._download.tell()
            await anyio.sleep(1)
        self._download.pause_s = 0

    async def _fetch(self, file: GrowingFile) -> None:
        """Append what comes; bytes in the buffer are written also when the rest fails to come."""
        async with self._repository.blob(self._blob.digest, file.size) as stream:
            self._check_total(stream.total_bytes)
            superfluous = file.size - stream.offset
            buffer = bytearray()
            try:
                async for chunk in stream.chunks:
                    kept = memoryview(chunk)[superfluous:]
                    superfluous = max(0, superfluous - len(chunk))
                    buffer += kept
                    self._check_size(file.size + len(buffer))
                    if len(buffer) >= BUFFER_BYTES:
                        await self._append(file, buffer)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._append(file, buffer)
        if file.size < self._blob.size_bytes:
            raise RegistryUnreachable("GET", f"blob {self._blob.digest}", "unexpected EOF")

    def _check_total(self, total_bytes: int) -> None:
        if total_bytes not in (-1, self._blob.size_bytes):
            raise WrongContent(
                f"blob {self._blob.digest}: {total_bytes} bytes instead of the {self._blob.size_bytes} announced"
            )

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._blob.size_bytes:
            raise WrongContent(f"blob {self._blob.digest}: more than the {self._blob.size_bytes} bytes announced")

    async def _append(self, file: GrowingFile, buffer: bytearray) -> None:
        if buffer:
            content = bytes(buffer)
            buffer.clear()
            await run_sync(file.append, content, self._digest)
            self._download.current_bytes = file.size
            self._download.tell()


def _remove_stale(directory: Path, used: set[Path], before_s: float) -> None:
    with attempt(f"clean {directory}"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in directory.iterdir():
            if path not in used and path.stat().st_mtime < before_s:
                path.unlink(missing_ok=True)


def wall_s() -> float:
    """Seconds since 1970 as file times have them."""
    return time.time_ns() / 1e9
