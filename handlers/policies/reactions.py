"""What the engine does by itself: an event leads to a command, nothing else. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from events.base import Command
from events.envelope import Recorded
from events.messages.container import (
    ContainerRestartFailed,
    ContainerRestartScheduled,
    ContainerStartFailed,
    RemoveContainer,
    SettleExit,
    StartAgain,
    StartContainer,
)
from events.messages.exec import ProcessExited
from events.messages.system import EngineStarted
from events.projections.containers import Container
from events.projections.state import State
from handlers.policies.restart import starts_with_the_engine


class Reaction(msgspec.Struct, frozen=True):
    """A command, and when it is to be sent by the wall clock; 0 is at once.

    `is_patient`: a conflict may pass, as when another container, whose network it shares, isn't up yet.
    """

    command: Command[Any]
    due_ns: int = 0
    is_patient: bool = False


def react(recorded: Recorded, state: State) -> Iterator[Reaction]:
    """The commands that follow from an event."""
    match recorded.event:
        case ProcessExited(container_id=container_id):
            yield Reaction(SettleExit(container=container_id))
        case ContainerRestartScheduled(container_id=container_id, run=run, due_ns=due_ns):
            yield _again(container_id, run, due_ns, state)
        case ContainerStartFailed(container_id=container_id) | ContainerRestartFailed(container_id=container_id):
            container = state.containers.get(container_id)
            if container is not None and container.removes_itself:
                yield Reaction(RemoveContainer(container=container_id, volumes=True))
        case EngineStarted():
            for container in state.containers:
                yield from _with_the_engine(container, state)
        case _:
            return


def _again(container_id: str, run: int, due_ns: int, state: State) -> Reaction:
    container = state.containers.get(container_id)
    is_patient = container is not None and _shares_anothers(container)
    return Reaction(StartAgain(container=container_id, run=run), due_ns, is_patient)


def _with_the_engine(container: Container, state: State) -> Iterator[Reaction]:
    """A daemon that went away took the restarts that it had planned along."""
    if container.status == "restarting":
        yield _again(container.id, container.run, container.restart_due_ns, state)
    elif starts_with_the_engine(container):
        yield Reaction(StartContainer(container=container.id), is_patient=_shares_anothers(container))


def _shares_anothers(container: Container) -> bool:
    host = container.host
    return any(mode.startswith("container:") for mode in (host.network_mode, host.ipc_mode, host.pid_mode))
