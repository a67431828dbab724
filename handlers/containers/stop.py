"""Ending a process: ask, wait, insist; a kill overtakes a stop that waits."""

import contextlib

import msgspec

from events.container_lookup import find_container
from events.errors import EngineError, InvalidParameter, NotModified, reason_of
from events.messages import container as m
from events.messages.exec import SignalProcess
from events.projections.containers import Container
from handlers.containers import decide
from handlers.containers.access import conclude, current, enter
from handlers.containers.errors import CannotKill, InvalidSignal, Unkillable
from handlers.containers.freeze import thaw
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
    asked = not isinstance(command, m.StopContainer) or command.asked
    before = await enter(context, c.id, "stop", lambda state: decide.stop(state, timeout_s, signal, asked=asked))
    if not before.is_live:  # it waited for its restart
        await conclude(context, c.id, m.ContainerStopped(container_id=c.id), answer=answer)
        return
    try:
        await _deliver(context, c.id, signal)
        if not await ended(context, c.id, timeout_s if timeout_s >= 0 else None):
            await end(context, c)
    except BaseException as error:
        await conclude(context, c.id, m.ContainerStopFailed(container_id=c.id, error=reason_of(error)))
        raise
    await conclude(context, c.id, m.ContainerStopped(container_id=c.id), answer=answer)


def _patience(c: Container, asked_s: int | None) -> int:
    if asked_s is not None:
        return asked_s
    return DEFAULT_TIMEOUT_S if c.config.stop_timeout is None else c.config.stop_timeout


async def restart(context: Context, command: m.RestartContainer) -> None:
    """Answer RestartContainer: not running is fine."""
    c = await enter(context, command.container, "restart", decide.restart)
    try:
        await _stop_if_it_runs(context, c.id, command)
        await start(context, c.id, answer=msgspec.UNSET)
    except BaseException as error:
        await conclude(context, c.id, m.ContainerRestartFailed(container_id=c.id, error=reason_of(error)))
        raise
    await conclude(context, c.id, m.ContainerRestarted(container_id=c.id), answer=None)


async def _stop_if_it_runs(context: Context, container_id: str, command: m.RestartContainer) -> None:
    c = current(context, container_id)
    if not c.is_live and c.operation not in ("start", "exit"):
        return
    with contextlib.suppress(NotModified):  # it ended by itself meanwhile
        await stop(context, msgspec.structs.replace(command, container=container_id), answer=msgspec.UNSET)


async def kill(context: Context, command: m.KillContainer) -> None:
    """Answer KillContainer; SIGKILL answers when the process has ended."""
    signal = _signal_of(command)
    c = find_container(context.state.containers, command.container)
    if not c.is_up and not c.operation:
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
    before = await enter(context, container_id, "kill", lambda c: decide.kill(c, shown, signal, asked=asked))
    if not before.is_live:
        waited = m.ContainerKillFailed(container_id=container_id, signal=signal, error="it waited for its restart")
        await conclude(context, container_id, waited, answer=answer)
        return
    await _deliver(context, container_id, signal, answer=answer)


async def _deliver(context: Context, container_id: str, signal: int, *, answer: object = msgspec.UNSET) -> None:
    """Send a signal whose intent is in the log; a process that has ended meanwhile is fine."""
    try:
        await context.send(SignalProcess(container_id=container_id, signal=signal))
    except NotModified as error:
        ended = m.ContainerKillFailed(container_id=container_id, signal=signal, error=reason_of(error))
        await conclude(context, container_id, ended, answer=answer)
        return
    except BaseException as error:
        failed = m.ContainerKillFailed(container_id=container_id, signal=signal, error=reason_of(error))
        await conclude(context, container_id, failed)
        raise
    c = context.state.containers.get(container_id)
    thaws = c is not None and c.status == "paused" and signal in (SIGKILL, SIGTERM)
    killed = m.ContainerKilled(container_id=container_id, signal=signal)
    await conclude(context, container_id, killed, answer=msgspec.UNSET if thaws else answer)
    if thaws:
        await _thaw(context, container_id, answer)


async def _thaw(context: Context, container_id: str, answer: object) -> None:
    """A frozen process takes no signal; only one that is to end it thaws it, as dockerd does."""
    try:
        await enter(context, container_id, "unpause", decide.unpause)
    except EngineError:
        return  # somebody else did, or it has ended
    await thaw(context, container_id, answer=answer)


async def end(context: Context, c: Container) -> None:
    """SIGKILL, and wait until it has worked. Raises Unkillable."""
    with contextlib.suppress(CannotKill):  # it has ended meanwhile
        await send_signal(context, c.id, c.name, SIGKILL, asked=False)
    if not await ended(context, c.id, KILL_TIMEOUT_S):
        raise Unkillable(c.id, KILL_TIMEOUT_S)


async def ended(context: Context, container_id: str, timeout_s: float | None) -> bool:
    """Wait until the container has no process and what served it is gone."""

    def over() -> bool:
        c = context.state.containers.get(container_id)
        return c is None or not c.is_live

    return await context.until(f"container/{container_id}", over, timeout_s)
