"""A layer on its way to a registry: compressed as it is read, sent in pieces, resumed where the connection broke."""

import hashlib
from collections.abc import Callable

import anyio
from anyio.to_thread import run_sync
from zlib_ng import zlib_ng

from events.errors import EngineError, SystemFailure
from events.messages.image import Blob
from handlers.images.ports import LayerTars, Repository
from handlers.images.registry_errors import RegistryRefused, RegistryUnreachable, is_passing
from handlers.kernel.threads import run_long

CHUNK_BYTES = 8 * 1024 * 1024  # what a broken connection costs at most, and what is held in memory
MEDIA_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_LEVEL = 4  # nearly as small as by zlib's default, in less than half the time
_GZIP = 31
_LONGEST_PAUSE_S = 30


class UploadLost(SystemFailure):
    """A registry has forgotten what it had taken."""

    def __init__(self, place: str) -> None:
        super().__init__(f"blob upload unknown: {place} was lost by the registry")


class Upload:
    """One layer."""

    def __init__(
        self, repository: Repository, tars: LayerTars, attempts: int, tell: Callable[[int, int], None]
    ) -> None:
        """`tell` hears how many bytes of the tar were read, and how many there are."""
        self._repository, self._tars, self._attempts, self._tell = repository, tars, attempts, tell
        self._digest = hashlib.sha256()
        self._compressor = zlib_ng.compressobj(_LEVEL, wbits=_GZIP)
        self._buffer = bytearray()
        self._place = ""
        self._sent_bytes = 0

    async def run(self, cache_id: str, diff_id: str) -> Blob:
        """Send it. Raises RegistryRefused, RegistryUnreachable, UploadLost, SystemFailure."""
        total_bytes = await self._tars.tar_size(cache_id)
        self._place = await self._repository.begin_upload()
        await self._send_tar(cache_id, diff_id, total_bytes)
        await run_long(self._end)
        await self._send_last()
        digest = f"sha256:{self._digest.hexdigest()}"
        return Blob(diff_id=diff_id, digest=digest, size_bytes=self._sent_bytes, media_type=MEDIA_TYPE)

    async def _send_tar(self, cache_id: str, diff_id: str, total_bytes: int) -> None:
        chunks, read_bytes = await self._tars.tar(cache_id, diff_id), 0
        try:
            async for chunk in chunks:
                await run_sync(self._compress, chunk)
                read_bytes += len(chunk)
                self._tell(read_bytes, total_bytes)
                if len(self._buffer) >= CHUNK_BYTES:
                    await self._send()
        finally:
            with anyio.CancelScope(shield=True):
                await chunks.aclose()

    def _compress(self, chunk: bytes) -> None:
        self._take(self._compressor.compress(chunk))

    def _end(self) -> None:
        self._take(self._compressor.flush())

    def _take(self, compressed: bytes) -> None:
        self._digest.update(compressed)
        self._buffer += compressed

    async def _send(self) -> None:
        """Append what there is to the upload, from where the registry has it."""
        content, self._buffer = bytes(self._buffer), bytearray()
        done, failures = 0, 0
        while done < len(content):
            try:
                self._place = await self._repository.send_chunk(self._place, self._sent_bytes + done, content[done:])
                done = len(content)
            except (RegistryUnreachable, RegistryRefused) as error:
                failures += 1
                await self._pause(failures, error)
                self._place, received_bytes = await self._repository.received(self._place)
                done = received_bytes - self._sent_bytes
                if not 0 <= done <= len(content):
                    raise UploadLost(self._place) from error
        self._sent_bytes += len(content)

    async def _send_last(self) -> None:
        """The end, whole with the upload's conclusion where that is all; what breaks off is sent again."""
        digest = f"sha256:{self._digest.hexdigest()}"
        failures = 0
        content = bytes(self._buffer)
        while True:
            try:
                await self._repository.finish_upload(self._place, digest, content)
            except (RegistryUnreachable, RegistryRefused) as error:
                failures += 1
                await self._pause(failures, error)
                if await self._repository.has_blob(digest):
                    break
                self._place, received_bytes = await self._repository.received(self._place)
                if not 0 <= received_bytes - self._sent_bytes <= len(self._buffer):
                    raise UploadLost(self._place) from error
                content = bytes(self._buffer[received_bytes - self._sent_bytes :])
            else:
                break
        self._sent_bytes += len(self._buffer)

    async def _pause(self, failures: int, error: EngineError) -> None:
        """Raises the error again when trying once more is in vain."""
        if not is_passing(error) or failures >= self._attempts:
            raise error
        await anyio.sleep(min(failures, _LONGEST_PAUSE_S))
