"""What containers write, for the builder: the frames of the wire taken apart again."""

import struct
from collections.abc import AsyncIterator
from typing import Final

from handlers.exec.ports import LogQuery, Streams

_HEADER: Final = struct.Struct(">BxxxL")


class ContainerOutputs:
    """See `handlers.build.ports.Outputs`."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def follow(self, container_id: str) -> AsyncIterator[tuple[int, bytes]]:
        """See `Outputs.follow`."""
        return _pieces(self._streams.output_from(container_id, 0, LogQuery(follow=True)))


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(held)
            end = _HEADER.size + length
            if len(held) < end:
                break
            yield stream, bytes(held[_HEADER.size : end])
            del held[:end]
