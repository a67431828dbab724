"""Waiting for any of several descriptors; without it each would need a task, which a generator can't own."""

import select
from collections.abc import Iterable

import anyio


async def wait_any(descriptors: Iterable[int], timeout_s: float | None = None) -> frozenset[int]:
    """Those of `descriptors` that are readable (or hung up), at least one; none when `timeout_s` is over first.

    Source: epoll(7): an epoll descriptor is itself readable when one of its members is.
    """
    with select.epoll() as poll:
        for descriptor in descriptors:
            poll.register(descriptor, select.EPOLLIN)
        with anyio.move_on_after(timeout_s):
            await anyio.wait_readable(poll.fileno())
        return frozenset(descriptor for descriptor, _ in poll.poll(0))
