"""Worker threads by how long their work may take; without it forty large removals would hold up every mount.

anyio has one pool of 40 threads that all share. Quick work (a mount, a netlink request, a small file) stays there;
what may take minutes has a few threads of its own, and so has what may never come back.
"""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

LONG = 8  # more at once only makes a disk seek
FOREIGN = 16
_long: RunVar[anyio.CapacityLimiter] = RunVar("_long")
_foreign: RunVar[anyio.CapacityLimiter] = RunVar("_foreign")


async def run_long(function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Run what walks a file tree, reads a whole file or digests it. At most LONG run at once, the rest wait.

    Raises what `function` raises. Like `anyio.to_thread.run_sync` it isn't cancelled before the function returns.
    """
    return await anyio.to_thread.run_sync(function, *arguments, limiter=_limiter(_long, LONG))


async def run_foreign(function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Run what touches paths that users name: a file system of theirs (a lost NFS server) may never answer.

    At most FOREIGN run at once, the rest wait; otherwise like `run_long`.
    """
    return await anyio.to_thread.run_sync(function, *arguments, limiter=_limiter(_foreign, FOREIGN))


def _limiter(kind: RunVar[anyio.CapacityLimiter], size: int) -> anyio.CapacityLimiter:
    """A limiter belongs to one event loop."""
    found = kind.get(None)
    if found is None:
        found = anyio.CapacityLimiter(size)
        kind.set(found)
    return found
