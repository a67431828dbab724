"""What Docker would tell of containers and of processes run in them, event by event."""

from collections.abc import Iterator

import msgspec

from daemon.shapes.events import Told
from daemon.shapes.secrets import open_exec
from events.base import Event
from events.envelope import Recorded
from events.messages import container as m
from events.messages import exec as x
from events.projections.containers import Container
from events.projections.execs import Exec
from events.sealed import Keyring, Sealed

_PLAIN_ACTIONS: dict[type[Event], str] = {
    m.ContainerCreated: "create",
    m.ContainerStarted: "start",
    m.ContainerRestarted: "restart",
    m.ContainerPaused: "pause",
    m.ContainerUnpaused: "unpause",
    m.ContainerUpdated: "update",
    m.ContainerRemoved: "destroy",
    m.ContainerExtracted: "extract-to-dir",
}


class Named(msgspec.Struct, kw_only=True):
    """What a container's messages carry besides their own attributes."""

    name: str
    image: str
    labels: dict[str, str]
    is_stopping: bool = False

    def attributes(self, more: dict[str, str]) -> dict[str, str]:
        """All attributes of a message."""
        return self.labels | {"image": self.image, "name": self.name} | more


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What an exec's messages carry."""

    container_id: str
    command: str


class ContainerTeller:
    """Follows `container/` and `exec/` streams."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._containers: dict[str, Named] = {}
        self._execs: dict[str, Process] = {}

    def know(self, container: Container) -> None:
        """Begin in the middle of the log: a container that exists."""
        self._containers[container.id] = Named(
            name=container.name,
            image=container.image_reference,
            labels=container.config.labels,
            is_stopping=container.stopped_on_request and container.is_live,
        )

    def know_exec(self, process: Exec) -> None:
        """Begin in the middle of the log: an exec that exists."""
        self._execs[process.id] = self._process(process.container_id, process.secrets)

    def tell(self, recorded: Recorded) -> Iterator[Told]:
        """Messages for an event of a `container/` stream."""
        container_id, event = recorded.stream.partition("/")[2], recorded.event
        if isinstance(event, m.ContainerCreateRequested):
            labels = event.config.labels
            self._containers[container_id] = Named(name=event.name, image=event.image_reference, labels=labels)
        named = self._containers.get(container_id)
        if named is None:
            return
        for action, more in _actions(named, event):
            yield Told("container", action, container_id, named.attributes(more))
        if isinstance(event, m.ContainerRemoved | m.ContainerCreateFailed):
            self._forget(container_id)

    def tell_exec(self, recorded: Recorded) -> Iterator[Told]:
        """Messages for an event of an `exec/` stream; they are the container's."""
        exec_id, event = recorded.stream.partition("/")[2], recorded.event
        if isinstance(event, x.ExecCreated):
            self._execs[exec_id] = self._process(event.container_id, event.secrets)
        process = self._execs.get(exec_id)
        named = self._containers.get(process.container_id) if process else None
        if process is None or named is None:
            return
        for action, more in _exec_actions(process, event):
            yield Told("container", action, process.container_id, named.attributes({"execID": exec_id} | more))

    def _process(self, container_id: str, secrets: Sealed) -> Process:
        return Process(container_id=container_id, command=" ".join(open_exec(secrets, self._keyring).cmd))

    def _forget(self, container_id: str) -> None:
        del self._containers[container_id]
        for exec_id in [key for key, process in self._execs.items() if process.container_id == container_id]:
            del self._execs[exec_id]


def _actions(named: Named, event: Event) -> Iterator[tuple[str, dict[str, str]]]:
    """Actions with their own attributes; `named` takes in what the event changes."""
    match event:
        case m.ContainerExitObserved(oom_killed=True):
            yield "oom", {}
        case m.ContainerStopRequested():
            named.is_stopping = True
        case m.ContainerStopped() | m.ContainerDied() | m.ContainerStopFailed():
            yield from _endings(named, event)
        case m.ContainerKilled(signal=signal):
            yield "kill", {"signal": str(signal)}
        case m.ContainerRenamed(name=name, old_name=old_name):
            named.name = name
            yield "rename", {"oldName": f"/{old_name}"}
        case m.ContainerHealthChanged(status=status):
            yield f"health_status: {status}", {}
        case m.ContainerCommitted(image_id=image_id, reference=reference, comment=comment):
            yield "commit", {"comment": comment, "imageID": image_id, "imageRef": reference}
        case m.ContainerAccessed(action=action, attributes=attributes):
            yield action, attributes
        case _ if type(event) in _PLAIN_ACTIONS:
            yield _PLAIN_ACTIONS[type(event)], {}
        case _:
            pass


def _endings(named: Named, event: Event) -> Iterator[tuple[str, dict[str, str]]]:
    """Docker tells `stop` just before the `die` that it led to."""
    if named.is_stopping and not isinstance(event, m.ContainerStopFailed):
        yield "stop", {}
    named.is_stopping = False
    if isinstance(event, m.ContainerDied):
        yield "die", {"exitCode": str(event.exit_code), "execDuration": str(event.run_s)}


def _exec_actions(process: Process, event: Event) -> Iterator[tuple[str, dict[str, str]]]:
    match event:
        case x.ExecCreated():
            yield f"exec_create: {process.command}", {}
        case x.ExecStartRequested():
            yield f"exec_start: {process.command}", {}
        case x.ExecExited(exit_code=exit_code):
            yield "exec_die", {"exitCode": str(exit_code)}
        case _:
            pass
