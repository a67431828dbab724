"""Keeps the durable output of a container within its bounds, and hands it on where its log driver says so."""

import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from events.errors import SystemFailure
from handlers.exec.drivers.forwarding import Forwarding
from handlers.exec.drivers.generations import Generations
from handlers.exec.drivers.log_targets import Target, open_target
from handlers.exec.drivers.output import OutputFiles
from handlers.exec.log_options import LogPlan, Rotation, Subject
from handlers.kernel.inotify import FileWatch
from handlers.kernel.pidfd import ProcessHandle
from handlers.kernel.readiness import wait_any

LOGGER = logging.getLogger(__name__)
_RETRY_S = 1.0
_UNWATCHED_POLL_S = 0.1
_BREATH_S = 0.02  # who writes all the time is looked at no more often
_CREATION_S = 3.0  # for conmon to make its next file; a thousandth of that is usual
_POLL_S = 0.01
_THREADS = 16  # a target that hangs keeps one busy


class LogKeeper:
    """One for all containers of an instance."""

    def __init__(self, files: OutputFiles) -> None:
        self._files = files
        self._limiter: anyio.CapacityLimiter | None = None

    async def reach(self, plan: LogPlan, subject: Subject) -> None:
        """See Runtime."""
        try:
            target = await anyio.to_thread.run_sync(open_target, plan, subject, limiter=self._threads())
        except OSError as error:
            raise SystemFailure(f"failed to initialize logging driver: {error}") from error
        target.close()

    async def keep(self, container_id: str, plan: LogPlan, subject: Subject) -> None:
        """See Runtime."""
        generations = self._files.generations(container_id)
        with ExitStack() as resources:
            work = _Work(self._files, container_id, generations, plan, subject)
            resources.callback(work.close)
            watch = self._files.watch(container_id, resources)
            while True:
                if watch is not None:
                    watch.drain()
                monitor = self._files.monitor(container_id)
                with ExitStack() as holding:
                    if monitor is not None:
                        holding.enter_context(monitor)
                        await work.rotate()
                    done = await anyio.to_thread.run_sync(work.forward, monitor is None, limiter=self._threads())
                    if monitor is None and done:
                        await work.tidy()
                        return
                    if monitor is None or not done:
                        await anyio.sleep(_RETRY_S)
                    else:
                        await _until_something(watch, monitor)

    def _threads(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        return self._limiter


async def _until_something(watch: FileWatch | None, monitor: ProcessHandle) -> None:
    if watch is None:
        await wait_any((monitor.fileno(),), _UNWATCHED_POLL_S)
        return
    await wait_any((monitor.fileno(), watch.fileno()))
    await anyio.sleep(_BREATH_S)


class _Work:
    """What is to be done for one container."""

    def __init__(
        self, files: OutputFiles, container_id: str, generations: Generations, plan: LogPlan, subject: Subject
    ) -> None:
        self._files, self._container_id, self._generations = files, container_id, generations
        self._plan, self._subject = plan, subject
        self._forwarding: Forwarding | None = None
        self._target: Target | None = None
        self._told = False  # conmon, of the rotation that is under way
        self._complained = False

    def close(self) -> None:
        """Let go of everything."""
        if self._forwarding is not None:
            self._forwarding.close()
        if self._target is not None:
            self._target.close()

    async def rotate(self) -> None:
        """Begin a new file when the present one is full, and finish what an earlier daemon has begun."""
        rotation = self._plan.rotation
        if rotation is None:
            return
        if self._generations.is_rotating():
            await self._finish()
        elif await anyio.to_thread.run_sync(self._is_full, rotation) and self._generations.begin_rotation():
            await self._finish(tell_at_once=True)
            await self.tidy()

    async def tidy(self) -> None:
        """Remove what is more than is to be kept."""
        if self._plan.rotation is not None:
            async with self._files.turn(self._container_id):
                await anyio.to_thread.run_sync(self._tidy, self._plan.rotation)

    async def _finish(self, *, tell_at_once: bool = False) -> None:
        """An earlier daemon may have told conmon before it was killed: it is told again only if it does nothing."""
        if tell_at_once:
            self._tell()
        if await self._has_begun() or self._told:
            self._told = self._told and self._generations.is_rotating()
            return
        self._tell()
        await self._has_begun()

    def _tell(self) -> None:
        """A conmon that has just ended takes no orders: the next one makes its file itself."""
        self._told = True
        with suppress(OSError):
            descriptor = os.open(self._files.control(self._container_id), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"2 0 0\n")
            finally:
                os.close(descriptor)

    async def _has_begun(self) -> bool:
        with anyio.move_on_after(_CREATION_S):
            while self._generations.is_rotating():  # noqa: ASYNC110 - conmon gives no sign
                await anyio.sleep(_POLL_S)
            self._told = False
            return True
        return False

    def _is_full(self, rotation: Rotation) -> bool:
        try:
            return Path(self._generations.path).stat().st_size >= rotation.max_bytes
        except FileNotFoundError:
            return False

    def _tidy(self, rotation: Rotation) -> None:
        needed = self._files.needed(self._container_id)
        if self._plan.is_forwarded:
            needed = min(needed, self._forwarding.number if self._forwarding else 0)
        self._generations.tidy(rotation.files - 1, compress=rotation.compress, needed=needed)

    def forward(self, ended: bool) -> bool:  # noqa: FBT001 - called by a thread, which hands on no names
        """Hand on what there is. False when the target doesn't take it now."""
        if not self._plan.is_forwarded:
            return True
        try:
            if self._target is None:
                self._target = open_target(self._plan, self._subject)
            if self._forwarding is None:
                self._forwarding = Forwarding(self._generations, buffer_bytes=self._plan.buffer_bytes)
            self._forwarding.forward(self._target, ended=ended)
        except OSError as error:
            if not self._complained:
                LOGGER.warning("the output of container %s waits for its log driver: %s", self._container_id, error)
            self._complained = True
            return False
        self._complained = False
        return True
