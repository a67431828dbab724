"""What is known of every container; `ps`, `inspect` and all decisions about containers read this."""

from collections.abc import Iterator

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.messages import container as m
from events.projections.tables import Projection
from events.sealed import Sealed


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container as the log tells it."""

    id: str
    name: str  # without the leading slash
    image_id: str
    image_reference: str
    config: m.ContainerConfig  # without what is in `secrets`
    host: m.HostConfig
    secrets: Sealed
    endpoints: dict[str, m.EndpointConfig]
    mounts: tuple[m.MountPoint, ...]
    platform: str
    created_at_ns: int
    status: str = "creating"  # creating, created, running, paused, restarting, exited, dead
    operation: str = ""  # the open intent: create, start, stop, exit, pause, unpause, update, remove; "" for none
    operation_command: str = ""  # id of the command that opened it
    kills: tuple[str, ...] = ()  # command ids of open kill intents
    extractions: tuple[tuple[str, str], ...] = ()  # command id and directory of each archive that is being put into it
    commits: tuple[str, ...] = ()  # command ids of open commits
    restarting: str = ""  # id of the command whose restart is open; its stop and its start are operations
    restarted_run: int = 0  # the run that the newest restart is to end
    observed_run: int = 0  # the run whose end is settled, or is being
    version: int = 0  # of its stream
    sequence: int = 0  # of its newest event
    run: int = 0
    pid: int = 0
    started_at_ns: int = 0  # 0: never
    apparmor_profile: str = ""  # of its last start
    finished_at_ns: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    stopped_on_request: bool = False  # since its last start
    ends_for_good: bool = False  # no restart policy acts on the end of this run
    manually_stopped: bool = False  # since its last start somebody stopped or killed it
    updated_host: m.HostConfig = m.HostConfig()  # what an open update is to lead to
    health: str = ""  # of its last run: starting, healthy, unhealthy; "" without a health check
    restart_count: int = 0  # by its policy, since somebody's start
    restart_delay_ms: int = 0  # before the newest of them; 0: there was none
    restart_due_ns: int = 0  # when that is or was to be, wall clock
    remove_volumes: bool = False  # what an open removal takes along
    leftovers: tuple[str, ...] = ()  # of its last run: what could not be taken down

    @property
    def is_live(self) -> bool:
        """Whether it has a process."""
        return self.status in ("running", "paused")

    @property
    def is_up(self) -> bool:
        """Whether it runs for Docker's clients: also while it waits for its restart policy."""
        return self.is_live or self.status == "restarting"

    @property
    def has_probe(self) -> bool:
        """Whether it has a health check to run."""
        check = self.config.healthcheck
        return check is not None and check.test[:1] in (("CMD",), ("CMD-SHELL",))

    @property
    def removes_itself(self) -> bool:
        """Whether it was run with `--rm` and has come to its end."""
        has_run = self.run > 0 or self.status == "dead"
        return self.host.auto_remove and has_run and not self.is_live and not self.restarting

    @property
    def is_at_rest(self) -> bool:
        """Whether a killed daemon has left nothing of it to be settled: no process, no intent, no removal to come."""
        is_open = self.operation or self.restarting or self.kills or self.extractions or self.commits
        return not (is_open or self.is_live or self.removes_itself)


def create(event: m.ContainerCreateRequested, recorded: Recorded) -> Container:
    """The first state of a container."""
    return Container(
        id=event.container_id,
        name=event.name,
        image_id=event.image_id,
        image_reference=event.image_reference,
        config=event.config,
        host=event.host,
        secrets=event.secrets,
        endpoints=event.endpoints,
        mounts=event.mounts,
        platform=event.platform,
        created_at_ns=recorded.clock_ns,
        operation="create",
        operation_command=recorded.cause.command_id,
    )


def fold(c: Container, event: Event, command_id: str) -> Container | None:
    """The state after an event; None when it is gone."""
    replace = msgspec.structs.replace
    match event:  # each case is tried in turn, a million times at a boot: what happens in every life comes first
        case m.ContainerCreated():
            return replace(c, status="created", operation="")
        case m.ContainerAccessed():
            return c
        case m.ContainerStartRequested():
            return _start(c, event, command_id)
        case m.ContainerStarted():
            return replace(
                c,
                status="running",
                operation="",
                pid=event.pid,
                started_at_ns=event.started_at_ns,
                apparmor_profile=event.apparmor_profile,
                exit_code=0,
                oom_killed=False,
                error="",
                leftovers=(),
                health="starting" if c.has_probe else "",
            )
        case m.ContainerExitObserved(exit_code=exit_code, oom_killed=oom, finished_at_ns=finished):
            ended = replace(c, exit_code=exit_code, oom_killed=oom, finished_at_ns=finished, observed_run=c.run)
            if c.operation == "remove":  # the removal goes on
                return ended
            return replace(ended, operation="exit", operation_command=command_id)
        case m.ContainerDied(leftovers=leftovers):
            operation = c.operation if c.operation == "remove" else ""
            return replace(c, status="exited", operation=operation, pid=0, kills=(), leftovers=leftovers)
        case m.ContainerRemoveRequested(volumes=volumes):
            return replace(c, operation="remove", operation_command=command_id, remove_volumes=volumes)
        case m.ContainerCreateFailed() | m.ContainerRemoved():
            return None
        case m.ContainerStopRequested(asked=asked):
            return replace(
                c,
                operation="stop",
                operation_command=command_id,
                stopped_on_request=True,
                ends_for_good=True,
                manually_stopped=c.manually_stopped or asked,
            )
        case m.ContainerStopped() | m.ContainerStopFailed():
            return replace(c, operation="" if c.operation == "stop" else c.operation)
        case m.ContainerKillRequested(asked=asked, for_good=for_good):
            return replace(
                c,
                kills=(*c.kills, command_id),
                ends_for_good=c.ends_for_good or for_good,
                manually_stopped=c.manually_stopped or asked,
            )
        case m.ContainerKilled() | m.ContainerKillFailed():
            return replace(c, kills=tuple(kill for kill in c.kills if kill != command_id))
        case m.ContainerStartFailed(exit_code=exit_code, error=error, leftovers=leftovers):
            status = "exited" if c.status == "restarting" else c.status
            return replace(c, status=status, operation="", exit_code=exit_code, error=error, leftovers=leftovers)
        case m.ContainerRestartScheduled():
            return replace(
                c,
                status="restarting",
                restart_count=event.attempt,
                restart_delay_ms=event.delay_ms,
                restart_due_ns=event.due_ns,
            )
        case m.ContainerRestartCancelled():
            return replace(c, status="exited", manually_stopped=True)
        case m.ContainerPauseRequested():
            return replace(c, operation="pause", operation_command=command_id)
        case m.ContainerPaused():
            return _frozen(c, paused=True)
        case m.ContainerUnpauseRequested():
            if c.operation:  # a stop or a removal thaws on its way
                return c
            return replace(c, operation="unpause", operation_command=command_id)
        case m.ContainerUnpaused():
            return _frozen(c, paused=False)
        case m.ContainerFreezeFailed(paused=paused):
            return _frozen(c, paused=paused)
        case m.ContainerExtractRequested(path=path):
            return replace(c, extractions=(*c.extractions, (command_id, path)))
        case m.ContainerExtracted() | m.ContainerExtractFailed():
            return replace(c, extractions=tuple(each for each in c.extractions if each[0] != command_id))
        case m.ContainerHealthChanged(status=status):
            return replace(c, health=status)
        case m.ContainerUpdateRequested(host=host):
            return replace(c, operation="update", operation_command=command_id, updated_host=host)
        case m.ContainerUpdated(host=host):
            return replace(c, operation="", host=host, updated_host=m.HostConfig())
        case m.ContainerUpdateFailed():
            return replace(c, operation="", updated_host=m.HostConfig())
        case m.ContainerCommitRequested():
            return replace(c, commits=(*c.commits, command_id))
        case m.ContainerCommitted() | m.ContainerCommitFailed():
            return replace(c, commits=tuple(each for each in c.commits if each != command_id))
        case m.ContainerLinkRemoved(alias=alias):
            links = tuple(link for link in c.host.links if link.partition(":")[2] != alias)
            return replace(c, host=replace(c.host, links=links))
        case m.ContainerRenamed(name=name):
            return replace(c, name=name)
        case m.ContainerRestartRequested():
            return replace(c, restarting=command_id, restarted_run=c.run)
        case m.ContainerRestarted() | m.ContainerRestartFailed():
            return replace(c, restarting="")
        case m.ContainerRemoveFailed(error=error):  # what still runs goes on running
            return replace(c, status=c.status if c.is_live else "dead", operation="", error=error)
        case _:
            return c


def _start(c: Container, event: m.ContainerStartRequested, command_id: str) -> Container:
    """Somebody's start begins the counting of restarts anew."""
    return msgspec.structs.replace(
        c,
        operation="start",
        operation_command=command_id,
        run=event.run,
        stopped_on_request=False,
        ends_for_good=False,
        manually_stopped=False,
        restart_count=event.attempt,
        restart_delay_ms=c.restart_delay_ms if event.attempt else 0,
    )


def _frozen(c: Container, *, paused: bool) -> Container:
    """A freeze or a thaw may be told only while it ends, or after that: it neither halts nor undoes the end."""
    status = ("paused" if paused else "running") if c.is_live else c.status
    operation = "" if c.operation in ("pause", "unpause") else c.operation
    return msgspec.structs.replace(c, status=status, operation=operation)


class Containers(Projection):
    """All containers, by id and by name."""

    _by_id: dict[str, Container]
    _id_of_name: dict[str, str]
    _linking: dict[str, tuple[str, ...]]  # id of a link's target -> ids of those that have such links

    def __iter__(self) -> Iterator[Container]:
        """In order of creation."""
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, container_id: str) -> Container | None:
        """By full id."""
        return self._by_id.get(container_id)

    def find(self, name: str) -> tuple[Container, ...]:
        """By full id, else by name (with or without the leading slash), else all whose id starts so."""
        if name in self._by_id:
            return (self._by_id[name],)
        container_id = self._id_of_name.get(name.removeprefix("/"))
        if container_id is not None:
            return (self._by_id[container_id],)
        return tuple(c for key, c in self._by_id.items() if name and key.startswith(name))

    def linking_to(self, container_id: str) -> tuple[Container, ...]:
        """The containers that have links to one."""
        return tuple(self._by_id[key] for key in self._linking.get(container_id, ()))

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `container/` stream."""
        event = recorded.event
        container_id = recorded.stream.partition("/")[2]
        before = self._by_id.get(container_id)
        if isinstance(event, m.ContainerCreateRequested):
            after: Container | None = create(event, recorded)
            self._link(container_id, event.host.links)
        elif before is None:
            return
        else:
            after = fold(before, event, recorded.cause.command_id)
        if before is not None and (after is None or after.name != before.name):
            del self._id_of_name[before.name]
        if after is None:
            del self._by_id[container_id]
            self._unlink(container_id, before.host.links if before else ())
            return
        self._by_id[container_id] = msgspec.structs.replace(after, version=recorded.version, sequence=recorded.sequence)
        self._id_of_name[after.name] = container_id

    def _link(self, container_id: str, links: tuple[str, ...]) -> None:
        for target in {link.partition(":")[0] for link in links}:
            self._linking[target] = (*self._linking.get(target, ()), container_id)

    def _unlink(self, container_id: str, links: tuple[str, ...]) -> None:
        for target in {link.partition(":")[0] for link in links}:
            left = tuple(other for other in self._linking.get(target, ()) if other != container_id)
            if left:
                self._linking[target] = left
            else:
                self._linking.pop(target, None)
