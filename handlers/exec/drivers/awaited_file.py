"""A file that a program opens before anybody knows what is to be in it; without it the program would start later.

A runtime takes some milliseconds from its start to the reading of its configuration. Until the content is given there
is a named pipe in the file's place (fifo(7)), where the program waits; then there is a plain file, for whoever reads it
afterwards. Who opens the place in between gets the one or the other, and the same content from both.
"""

import os
import select
from collections.abc import Collection
from pathlib import Path

import anyio

_MODE = 0o600


class AwaitedFile:
    """Only for programs that read a file to the end of its JSON value: the pipe has no end before `close`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, _MODE)
        # with both ends in our hands: the program's opening never waits, only its reading does
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    async def hand_over(self, content: bytes, until: Collection[int]) -> None:
        """Give it to the program; returns early when one of `until` is readable: then nobody wants it any more."""
        with select.epoll() as any_of:
            any_of.register(self._pipe, select.EPOLLOUT)
            for descriptor in until:
                any_of.register(descriptor, select.EPOLLIN)
            rest = memoryview(content)
            while rest:
                await anyio.wait_readable(any_of.fileno())
                if any(descriptor != self._pipe for descriptor, _ in any_of.poll(0)):
                    return
                rest = rest[os.write(self._pipe, rest) :]

    def close(self) -> None:
        """To be called once the program has read it, or never will: what nobody has read is lost."""
        os.close(self._pipe)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step; only its owner may read it. Blocking."""
    staged = path.with_name(f".{path.name}")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE), "wb") as file:
        file.write(content)
    staged.rename(path)
