"""What the engine does by itself: an event leads to a command, nothing else. Pure."""

from collections.abc import Iterator
from typing import Any

from events.base import Command
from events.envelope import Recorded
from events.messages.container import (
    ContainerDied,
    ContainerRestartFailed,
    ContainerStartFailed,
    RemoveContainer,
    SettleExit,
)
from events.messages.exec import ProcessExited
from events.projections.state import State


def react(recorded: Recorded, state: State) -> Iterator[Command[Any]]:
    """The commands that follow from an event."""
    match recorded.event:
        case ProcessExited(container_id=container_id):
            yield SettleExit(container=container_id)
        case (
            ContainerDied(container_id=container_id)
            | ContainerStartFailed(container_id=container_id)
            | ContainerRestartFailed(container_id=container_id)
        ):
            container = state.containers.get(container_id)
            if container is not None and container.removes_itself:
                yield RemoveContainer(container=container_id, volumes=True)
        case _:
            return
