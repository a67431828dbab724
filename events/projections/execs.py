"""What is known of processes run in containers, and of how containers' first processes ended."""

from collections.abc import Iterator

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.messages import exec as m
from events.projections.tables import Projection
from events.sealed import Sealed


class Exec(msgspec.Struct, frozen=True, kw_only=True):
    """An exec as the log tells it."""

    id: str
    container_id: str
    run: int
    config: m.ExecConfig
    secrets: Sealed
    status: str = "created"  # created, starting, running, exited
    pid: int = 0
    exit_code: int | None = None
    version: int = 0
    start_command: str = ""  # id of the command that started it


def fold(state: Exec, event: Event) -> Exec:
    """The state after an event."""
    replace = msgspec.structs.replace
    match event:
        case m.ExecStartRequested():
            return replace(state, status="starting")
        case m.ExecStarted(pid=pid):
            return replace(state, status="running", pid=pid)
        case m.ExecStartFailed(exit_code=exit_code):
            return replace(state, status="exited", exit_code=exit_code)
        case m.ExecExited(exit_code=exit_code):
            return replace(state, status="exited", exit_code=exit_code, pid=0)
        case _:
            return state


ENDED_KEPT = 100
CREATED_KEPT = 1000


class Execs(Projection):
    """Execs of the containers that exist, and the last exit of each container's first process.

    Of each container all live ones are known, the last ENDED_KEPT that ended and the last CREATED_KEPT that wait for
    their start. With the container's next start those that aren't live are forgotten: they can't run any more.
    """

    _by_id: dict[str, Exec]
    _of_container: dict[str, dict[str, None]]  # ids, oldest first, here and in the next two
    _ended: dict[str, dict[str, None]]
    _created: dict[str, dict[str, None]]
    _exits: dict[str, m.ProcessExited]
    _process_versions: dict[str, int]

    def __iter__(self) -> Iterator[Exec]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, exec_id: str) -> Exec | None:
        """By full id."""
        return self._by_id.get(exec_id)

    def of(self, container_id: str) -> tuple[Exec, ...]:
        """Those of a container, oldest first."""
        return tuple(self._by_id[exec_id] for exec_id in self._of_container.get(container_id, ()))

    def last_exit(self, container_id: str) -> m.ProcessExited | None:
        """How the container's first process ended, the last time that it did."""
        return self._exits.get(container_id)

    def process_version(self, container_id: str) -> int:
        """Version of the container's `process/` stream."""
        return self._process_versions.get(container_id, 0)

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of an `exec/` or `process/` stream."""
        event = recorded.event
        match event:
            case m.ProcessExited(container_id=container_id):
                self._exits[container_id] = event
                self._process_versions[container_id] = recorded.version
            case m.ExecCreated():
                self._create(event, recorded.version)
            case _:
                exec_id = recorded.stream.partition("/")[2]
                if before := self._by_id.get(exec_id):
                    after = msgspec.structs.replace(fold(before, event), version=recorded.version)
                    if isinstance(event, m.ExecStartRequested):
                        after = msgspec.structs.replace(after, start_command=recorded.cause.command_id)
                    self._change(before, after)

    def _create(self, event: m.ExecCreated, version: int) -> None:
        self._by_id[event.exec_id] = Exec(
            id=event.exec_id,
            container_id=event.container_id,
            run=event.run,
            config=event.config,
            secrets=event.secrets,
            version=version,
        )
        self._of_container.setdefault(event.container_id, {})[event.exec_id] = None
        created = self._created.setdefault(event.container_id, {})
        created[event.exec_id] = None
        if len(created) > CREATED_KEPT:
            self._drop(next(iter(created)))

    def _change(self, before: Exec, after: Exec) -> None:
        self._by_id[after.id] = after
        if after.status != "created":
            self._created.get(after.container_id, {}).pop(after.id, None)
        if after.status == "exited" != before.status:
            ended = self._ended.setdefault(after.container_id, {})
            ended[after.id] = None
            if len(ended) > ENDED_KEPT:
                oldest = next(iter(ended))
                del ended[oldest]
                self._drop(oldest)

    def _drop(self, exec_id: str) -> None:
        gone = self._by_id.pop(exec_id)
        self._of_container[gone.container_id].pop(exec_id)
        self._created.get(gone.container_id, {}).pop(exec_id, None)

    def forget_ended(self, container_id: str) -> None:
        """The container starts anew: its execs are history, unless somebody has still to settle their end."""
        for exec_id in (*self._ended.pop(container_id, ()), *self._created.get(container_id, ())):
            self._drop(exec_id)

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        for exec_id in self._of_container.pop(container_id, ()):
            del self._by_id[exec_id]
        for table in (self._ended, self._created, self._exits, self._process_versions):
            table.pop(container_id, None)
