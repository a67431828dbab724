"""This terminal's input and output, joined to a container's; signals and sizes go along."""

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import BinaryIO

import anyio
import anyio.abc
import anyio.to_thread

from clients.api import ApiError, Attached, Client, EngineUnreachable
from clients.cli.output import STDERR, Demultiplexer

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_READ_BYTES = 64 * 1024

Resize = Callable[[int, int], Awaitable[None]]


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go to the container one by one, not to this terminal's line editor."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def terminal_size() -> tuple[int, int] | None:
    """Height and width of this terminal; None when there is none."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return size.lines, size.columns


async def show(attached: Attached, *, terminal: bool) -> None:
    """Print what comes, until the other side ends."""
    async for target, data in _targets(attached.chunks(), terminal=terminal):
        await anyio.to_thread.run_sync(write, target, data)


async def show_chunks(chunks: AsyncIterator[bytes], *, terminal: bool) -> None:
    """The same of an answer's body."""
    async for target, data in _targets(chunks, terminal=terminal):
        await anyio.to_thread.run_sync(write, target, data)


async def _targets(chunks: AsyncIterator[bytes], *, terminal: bool) -> AsyncIterator[tuple[BinaryIO, bytes]]:
    frames = Demultiplexer()
    async for data in chunks:
        if terminal:
            yield sys.stdout.buffer, data
            continue
        for stream, chunk in frames.feed(data):
            yield sys.stderr.buffer if stream == STDERR else sys.stdout.buffer, chunk


def write(target: BinaryIO, chunk: bytes) -> None:
    """Write it now."""
    target.write(chunk)
    target.flush()


async def feed(attached: Attached) -> None:
    """Pass this program's input on, and its end."""
    descriptor = sys.stdin.fileno()
    while data := await _read(descriptor):
        await attached.send(data)
    await attached.send_eof()


async def _read(descriptor: int) -> bytes:
    """What is there; files, which can't be waited for, are always ready."""
    with contextlib.suppress(OSError, ValueError):
        await anyio.wait_readable(descriptor)
    return os.read(descriptor, _READ_BYTES)


async def join(attached: Attached, *, terminal: bool, reads: bool, resize: Resize | None) -> None:
    """Both directions, until the other side ends. Raises what breaks the connection."""
    failures: list[Exception] = []
    async with anyio.create_task_group() as tasks:
        if reads:
            tasks.start_soon(_quietly, feed, attached)
        if terminal and resize is not None:
            await tasks.start(follow_size, resize)
        try:
            with raw_terminal() if terminal and reads else contextlib.nullcontext():
                await show(attached, terminal=terminal)
        except (ApiError, EngineUnreachable, OSError, anyio.BrokenResourceError) as error:
            failures.append(error)  # raised outside, where no group wraps it
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def _quietly(act: Callable[[Attached], Awaitable[None]], attached: Attached) -> None:
    """Input that nobody takes any more is no failure: the output says how it ended."""
    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await act(attached)


async def follow_size(resize: Resize, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Tell this terminal's size now and whenever it changes."""
    with anyio.open_signal_receiver(signal.SIGWINCH) as signals:
        task_status.started()
        await _tell_size(resize)
        async for _ in signals:
            await _tell_size(resize)


async def _tell_size(resize: Resize) -> None:
    size = terminal_size()
    if size is not None:
        with contextlib.suppress(ApiError, EngineUnreachable):  # it doesn't run yet, or no more
            await resize(*size)


async def pass_signals_on(
    client: Client, container: str, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Signals that this program gets are the container's."""
    with anyio.open_signal_receiver(*PASSED_ON) as signals:
        task_status.started()
        async for number in signals:
            try:
                await client.act("POST", f"/containers/{container}/kill", {"signal": number.name})
            except (ApiError, EngineUnreachable) as error:
                sys.stderr.write(f"{error}\n")  # it has just ended
