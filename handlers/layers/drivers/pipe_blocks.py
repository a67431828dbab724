"""Reads what another process writes into a pipe, as it comes; without it each reader would wait in a way of its own."""

import os
from typing import Final

import anyio

BLOCK_BYTES: Final = 1024 * 1024


async def read_block(descriptor: int) -> bytes:
    """The next bytes, at most BLOCK_BYTES, of a pipe that doesn't block; none at its end."""
    while True:
        try:
            return os.read(descriptor, BLOCK_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(descriptor)
