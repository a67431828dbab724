"""Keeps probing containers that have a health check: a change of status becomes a command, the rest is forgotten."""

import logging
from collections.abc import Sequence
from typing import Protocol

import anyio
import anyio.abc

from events.envelope import ENGINE, Cause, Recorded
from events.errors import EngineError
from events.messages.container import ChangeHealth, ContainerRemoved, ContainerStarted
from events.messages.image import HealthcheckConfig
from events.projections.containers import Container
from handlers.context import Services
from handlers.policies.health import Health, ProbeResult, after_probe, next_probe_ns, schedule

LOGGER = logging.getLogger(__name__)


class Probe(Protocol):
    """Runs a container's test (`handlers.exec.probes.Probes`)."""

    async def run(self, services: Services, container: Container, timeout_ns: int) -> ProbeResult:
        """One result, whatever happens."""


class HealthChecks:
    """A task for every run that is probed. Results live in memory: the next daemon begins with the status alone."""

    def __init__(self, services: Services, probe: Probe, tasks: anyio.abc.TaskGroup) -> None:
        self._services, self._probe, self._tasks = services, probe, tasks
        self._health: dict[str, Health] = {}
        self._watched: set[tuple[str, int]] = set()

    def of(self, container_id: str) -> Health | None:
        """The last results of a container that is or was probed; None without any."""
        return self._health.get(container_id)

    def begin(self) -> None:
        """Take up what runs already, and from now on whatever starts."""
        self._services.log.listen(self._notice)
        for container in self._services.state.containers:
            if container.is_live and container.has_probe:
                self._take_up(container, Health(status=container.health))

    def _notice(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            match recorded.event:
                case ContainerStarted(container_id=container_id):
                    container = self._services.state.containers.get(container_id)
                    if container is not None and container.has_probe:
                        before = self._health.get(container_id, Health())
                        self._take_up(container, Health(results=before.results))
                case ContainerRemoved(container_id=container_id):
                    self._health.pop(container_id, None)
                case _:
                    pass

    def _take_up(self, container: Container, health: Health) -> None:
        run = (container.id, container.run)
        if run not in self._watched:
            self._watched.add(run)
            self._health[container.id] = health
            self._tasks.start_soon(self._keep, container)

    async def _keep(self, container: Container) -> None:
        """As long as the run lasts; while it is paused nothing is probed."""
        stream = f"container/{container.id}"
        try:
            with self._services.watcher.watch(stream) as changed:
                while (now := self._present(container)) is not None:
                    if now.status != "running":
                        await changed()
                        continue
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._probe_for_ever, container)
                        while (now := self._present(container)) is not None and now.status == "running":
                            await changed()
                        tasks.cancel_scope.cancel("it doesn't run any more")
        finally:
            self._watched.discard((container.id, container.run))

    def _present(self, container: Container) -> Container | None:
        """The container as it is, while the run lasts."""
        now = self._services.state.containers.get(container.id)
        return now if now is not None and now.run == container.run and now.is_live else None

    async def _probe_for_ever(self, container: Container) -> None:
        plan = schedule(container.config.healthcheck or HealthcheckConfig())
        while True:
            age_ns = self._services.clock.now_ns() - container.started_at_ns
            await anyio.sleep(next_probe_ns(plan, self._health[container.id].status, age_ns) / 1e9)
            result = await self._probe.run(self._services, container, plan.timeout_ns)
            before = self._health.get(container.id)
            if before is None or self._present(container) is None:  # it says nothing about a run that has ended
                return
            health = self._health[container.id] = after_probe(before, result, plan, container.started_at_ns)
            await self._tell(container, health.status)

    async def _tell(self, container: Container, status: str) -> None:
        """Only what the log doesn't say yet; a command that fails is sent again after the next probe."""
        now = self._present(container)
        if now is None or now.health == status:
            return
        command_id = f"health-{self._services.ids.new()[:32]}"
        cause = Cause(actor=ENGINE, command_id=command_id, correlation_id=command_id)
        command = ChangeHealth(container=container.id, run=container.run, status=status)
        try:
            await self._services.sender(command, command_id=command_id, cause=cause)
        except EngineError as error:
            LOGGER.info("the health of container %s could not be recorded: %s", container.id, error)
