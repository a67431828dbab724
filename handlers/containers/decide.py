"""Decisions about containers: which command may meet which open intent, and what each one writes. Pure."""

from collections.abc import Mapping
from enum import Enum, auto

from events.base import Event
from events.log import Append
from events.messages import container as m
from events.projections.containers import Container
from handlers.containers.errors import (
    AlreadyPaused,
    AlreadyStarted,
    AlreadyStopped,
    BeingRemoved,
    CannotKill,
    CommitOfDead,
    IsRestarting,
    NothingToRestart,
    NotPaused,
    NotRunning,
    RemovalInProgress,
    StartOfPaused,
    StillRunning,
)
from handlers.containers.signals import parse_signal

_SIGKILL = 9


class Meeting(Enum):
    """What becomes of a command that finds an open intent."""

    GO = auto()  # it may act beside it
    WAIT = auto()  # it is decided again when the intent is settled
    REFUSE = auto()


_GO, _WAIT, _REFUSE = Meeting.GO, Meeting.WAIT, Meeting.REFUSE

# command -> open intent -> what becomes of it; every pair is here
MEETINGS: Mapping[str, Mapping[str, Meeting]] = {
    "start": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _WAIT,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _REFUSE,
    },
    "stop": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,  # a later one may be less patient
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _REFUSE,
    },
    "restart": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _WAIT,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _REFUSE,
    },
    "kill": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,  # overtakes
        "exit": _WAIT,
        "pause": _GO,
        "unpause": _GO,
        "update": _GO,
        "remove": _GO,
    },
    "pause": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _WAIT,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _REFUSE,
    },
    "unpause": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,  # a stop of a paused container needs it
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _GO,
    },
    "rename": {
        "create": _WAIT,
        "start": _GO,
        "stop": _GO,
        "exit": _GO,
        "pause": _GO,
        "unpause": _GO,
        "update": _GO,
        "remove": _REFUSE,
    },
    "commit": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _GO,
        "remove": _REFUSE,
    },
    "extract": {
        "create": _WAIT,
        "start": _GO,
        "stop": _GO,
        "exit": _GO,
        "pause": _GO,
        "unpause": _GO,
        "update": _GO,
        "remove": _REFUSE,
    },
    "update": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _WAIT,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _REFUSE,
    },
    "change_health": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _GO,
        "remove": _REFUSE,
    },
    "remove": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,  # a forced one; the other is refused because it runs
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _REFUSE,
    },
    "settle": {
        "create": _WAIT,
        "start": _WAIT,
        "stop": _GO,
        "exit": _WAIT,
        "pause": _WAIT,
        "unpause": _WAIT,
        "update": _WAIT,
        "remove": _GO,
    },
}


def meet(verb: str, c: Container) -> Meeting:
    """Whether a command may go on now. Raises where it is refused."""
    if c.restarting and verb in ("restart", "remove"):
        return _WAIT
    meeting = MEETINGS[verb][c.operation] if c.operation else _GO
    if meeting is _REFUSE:
        raise RemovalInProgress(c.name) if verb == "remove" else BeingRemoved(c.name)
    return meeting


def _append(c: Container, *events: Event) -> Append:
    return Append(stream=f"container/{c.id}", events=events, expected=c.version)


def start(c: Container) -> Append:
    """Begin a run."""
    if c.status == "running" or (c.status == "restarting" and not c.restarting):
        raise AlreadyStarted(c.id)
    if c.status == "paused":
        raise StartOfPaused
    if c.status == "dead":
        raise BeingRemoved(c.name)
    return _append(c, m.ContainerStartRequested(container_id=c.id, run=c.run + 1))


def start_again(c: Container, run: int) -> Append:
    """Begin a run for the restart policy; `run` is the one whose end it acts on."""
    if c.status != "restarting" or c.run != run or c.restarting:
        raise NothingToRestart(c.id)
    return _append(c, m.ContainerStartRequested(container_id=c.id, run=c.run + 1, attempt=c.restart_count))


def stop(c: Container, timeout_s: int, signal: int, *, asked: bool) -> Append:
    """Begin a stop: the intent of the whole and of its first signal. One that waits for its restart is stopped by it.

    Raises AlreadyStopped.
    """
    if not c.is_up:
        raise AlreadyStopped(c.id)
    requested = m.ContainerStopRequested(container_id=c.id, timeout_s=timeout_s, signal=signal, asked=asked)
    if not c.is_live:
        return _append(c, requested, m.ContainerRestartCancelled(container_id=c.id))
    return _append(c, requested, m.ContainerKillRequested(container_id=c.id, signal=signal, asked=False))


def restart(c: Container) -> Append:
    """Begin a restart."""
    if c.status == "dead":
        raise BeingRemoved(c.name)
    return _append(c, m.ContainerRestartRequested(container_id=c.id))


def kill(c: Container, shown: str, signal: int, *, asked: bool) -> Append:
    """Intend a signal. One that waits for its restart has no process to take it, but doesn't wait any more."""
    if not c.is_up:
        raise CannotKill(shown, c.id)
    for_good = asked and _means_the_end(c, signal)
    requested = m.ContainerKillRequested(container_id=c.id, signal=signal, asked=asked, for_good=for_good)
    if not c.is_live:
        return _append(c, requested, m.ContainerRestartCancelled(container_id=c.id))
    return _append(c, requested)


def _means_the_end(c: Container, signal: int) -> bool:
    """As in dockerd: SIGKILL, its stop signal and, where it names none, any signal."""
    named = c.config.stop_signal
    return not named or signal in (_SIGKILL, parse_signal(named))


def pause(c: Container) -> Append:
    """Begin to freeze."""
    if c.status == "paused":
        raise AlreadyPaused(c.id)
    if c.status == "restarting":
        raise IsRestarting(c.id)
    if c.status != "running":
        raise NotRunning(c.id)
    return _append(c, m.ContainerPauseRequested(container_id=c.id))


def unpause(c: Container) -> Append:
    """Begin to thaw."""
    if c.status != "paused":
        raise NotPaused(c.id)
    return _append(c, m.ContainerUnpauseRequested(container_id=c.id))


def remove(c: Container, shown: str, *, force: bool, volumes: bool) -> Append:
    """Begin the removal; with `force` the process is ended within it."""
    if c.is_up and not force:
        raise StillRunning(shown, c.status)
    return _append(c, m.ContainerRemoveRequested(container_id=c.id, volumes=volumes))


def extract(c: Container, path: str, size_bytes: int) -> Append:
    """Begin to put an archive into it."""
    if c.status == "dead":
        raise BeingRemoved(c.name)
    return _append(c, m.ContainerExtractRequested(container_id=c.id, path=path, size_bytes=size_bytes))


def commit(c: Container, reference: str, comment: str, *, pause: bool) -> Append:
    """Begin to make an image of it."""
    if c.status == "dead":
        raise CommitOfDead(c.id)
    pauses = pause and c.status == "running"
    event = m.ContainerCommitRequested(container_id=c.id, reference=reference, comment=comment, pauses=pauses)
    return _append(c, event)


def claim(name: str) -> str:
    """The claim that keeps a name unique."""
    return f"name/{name}"


def observe(c: Container, exit_code: int, finished_at_ns: int, *, oom_killed: bool) -> Append:
    """Its process has ended; begin to take down what served it."""
    event = m.ContainerExitObserved(
        container_id=c.id, exit_code=exit_code, oom_killed=oom_killed, finished_at_ns=finished_at_ns
    )
    return _append(c, event)
