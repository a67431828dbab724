"""Ending a process: ask, wait, insist; a kill overtakes a stop that waits."""

import anyio
import msgspec

from events.container_lookup import find_container
from events.errors import EngineError, InvalidParameter, NotModified
from events.messages import container as m
from events.messages.exec import FreezeProcess, SignalProcess
from events.projections.containers import Container
from handlers.containers import decide
from handlers.containers.access import current, enter
from handlers.containers.errors import CannotKill, InvalidSignal, Unkillable
from handlers.containers.signals import parse_signal
from handlers.containers.start import start
from handlers.context import Context

DEFAULT_TIMEOUT_S = 10
KILL_TIMEOUT_S = 15.0
SIGKILL, SIGTERM = 9, 15


async def stop(context: Context, command: m.StopContainer | m.RestartContainer, *, answer: object = None) -> None:
    """Answer StopContainer: signal, patience, SIGKILL. Raises NotModified when it doesn't run."""
    c = find_container(context.state.containers, command.container)
    signal = parse_signal(command.signal or c.config.stop_signal or "SIGTERM")
    timeout_s = _patience(c, command.timeout_s)
    await enter(context, c.id, "stop", lambda state: decide.stop(state, timeout_s, signal))
    try:
        await _deliver(context, c.id, signal)
        if not await ended(context, c.id, timeout_s if timeout_s >= 0 else None):
            await end(context, c)
    except BaseException as error:
        failed = m.ContainerStopFailed(container_id=c.id, error=str(error) or type(error).__name__)
        with anyio.CancelScope(shield=True):
            await context.append(f"container/{c.id}", failed)
        raise
    await context.append(f"container/{c.id}", m.ContainerStopped(container_id=c.id), answer=answer)


def _patience(c: Container, asked_s: int | None) -> int:
    if asked_s is not None:
        return asked_s
    return DEFAULT_TIMEOUT_S if c.config.stop_timeout is None else c.config.stop_timeout


async def restart(context: Context, command: m.RestartContainer) -> None:
    """Answer RestartContainer: not running is fine."""
    c = find_container(context.state.containers, command.container)
    if c.is_live or c.operation in ("start", "exit"):
        try:
            await stop(context, command, answer=msgspec.UNSET)
        except NotModified:
            pass  # it ended by itself meanwhile
    await start(context, c.id, answer=msgspec.UNSET)
    await context.append(f"container/{c.id}", m.ContainerRestarted(container_id=c.id), answer=None)


async def kill(context: Context, command: m.KillContainer) -> None:
    """Answer KillContainer; SIGKILL answers when the process has ended."""
    signal = _signal_of(command)
    c = find_container(context.state.containers, command.container)
    if not c.is_live and not c.operation:
        raise CannotKill(command.container, c.id)
    await send_signal(context, c.id, command.container, signal, asked=True, answer=None)
    if signal == SIGKILL and not await ended(context, c.id, KILL_TIMEOUT_S):
        raise Unkillable(c.id, KILL_TIMEOUT_S)


def _signal_of(command: m.KillContainer) -> int:
    try:
        return parse_signal(command.signal or "SIGKILL")
    except InvalidSignal as error:
        raise InvalidParameter(f"cannot kill container: {command.container}: {error}") from error


async def send_signal(
    context: Context, container_id: str, shown: str, signal: int, *, asked: bool, answer: object = msgspec.UNSET
) -> None:
    """Intent, signal, outcome."""
    await enter(context, container_id, "kill", lambda c: decide.kill(c, shown, signal, asked=asked))
    await _deliver(context, container_id, signal, answer=answer)


async def _deliver(context: Context, container_id: str, signal: int, *, answer: object = msgspec.UNSET) -> None:
    """Send a signal whose intent is in the log; a process that has ended meanwhile is fine."""
    stream = f"container/{container_id}"
    try:
        await context.send(SignalProcess(container_id=container_id, signal=signal))
    except NotModified:
        pass
    except BaseException as error:
        reason = str(error) or type(error).__name__
        with anyio.CancelScope(shield=True):
            await context.append(stream, m.ContainerKillFailed(container_id=container_id, signal=signal, error=reason))
        raise
    await context.append(stream, m.ContainerKilled(container_id=container_id, signal=signal), answer=answer)
    if current(context, container_id).status == "paused":
        await _thaw(context, container_id, signal)


async def _thaw(context: Context, container_id: str, signal: int) -> None:
    """A frozen process takes no signal; only one that is to end it thaws it, as dockerd does."""
    if signal not in (SIGKILL, SIGTERM):
        return
    try:
        await enter(context, container_id, "unpause", decide.unpause)
    except EngineError:
        return  # somebody else did, or it has ended
    await context.send(FreezeProcess(container_id=container_id, frozen=False))
    await context.append(f"container/{container_id}", m.ContainerUnpaused(container_id=container_id))


async def end(context: Context, c: Container) -> None:
    """SIGKILL, and wait until it has worked. Raises Unkillable."""
    await send_signal(context, c.id, c.name, SIGKILL, asked=False)
    if not await ended(context, c.id, KILL_TIMEOUT_S):
        raise Unkillable(c.id, KILL_TIMEOUT_S)


async def ended(context: Context, container_id: str, timeout_s: float | None) -> bool:
    """Wait until the container has no process and what served it is gone."""

    def over() -> bool:
        c = context.state.containers.get(container_id)
        return c is None or not c.is_live

    return await context.until(f"container/{container_id}", over, timeout_s)
