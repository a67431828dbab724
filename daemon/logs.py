"""Sees to the logs of containers whose log driver wants more than the durable file; the others cost nothing."""

import logging
from collections.abc import Sequence
from typing import Protocol

import anyio
import anyio.abc
import msgspec

from events.envelope import Recorded
from events.errors import EngineError
from events.messages.container import ContainerRemoved, ContainerSecrets, ContainerStarted
from events.projections.containers import Container
from events.sealed import KeyDestroyed
from handlers.context import Services
from handlers.exec.log_options import LogPlan, Subject
from handlers.exec.log_plans import plan_of, subject_of

LOGGER = logging.getLogger(__name__)


class Keeper(Protocol):
    """Keeps the log of one container (`handlers.exec.ports.Runtime`)."""

    async def keep_log(self, container_id: str, plan: LogPlan, subject: Subject) -> None:
        """Until there is nothing left to do."""


class LogKeeping:
    """A task for each container that has something to be rotated or handed on."""

    def __init__(self, services: Services, keeper: Keeper, tasks: anyio.abc.TaskGroup) -> None:
        self._services, self._keeper, self._tasks = services, keeper, tasks
        self._kept: dict[str, anyio.CancelScope] = {}
        self._again: set[str] = set()

    def begin(self) -> None:
        """Take up what earlier daemons left, and from now on whatever starts."""
        self._services.log.listen(self._notice)
        for container in self._services.state.containers:
            if container.run:
                self._take_up(container)

    def _notice(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            match recorded.event:
                case ContainerStarted(container_id=container_id):
                    container = self._services.state.containers.get(container_id)
                    if container is not None:
                        self._take_up(container)
                case ContainerRemoved(container_id=container_id):
                    if container_id in self._kept:
                        self._kept[container_id].cancel("the container is gone")
                case _:
                    pass

    def _take_up(self, container: Container) -> None:
        log = container.host.log_config
        if log.type == "json-file" and not log.config:  # the names of options are in the log, their values sealed
            return
        self._again.add(container.id)
        if container.id not in self._kept:
            scope = self._kept[container.id] = anyio.CancelScope()
            self._tasks.start_soon(self._keep, container, scope)

    async def _keep(self, container: Container, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                secrets = msgspec.json.decode(self._services.keyring.open(container.secrets), type=ContainerSecrets)
                plan, subject = plan_of(container, secrets), subject_of(container, secrets)
                while plan.rotation is not None and container.id in self._again:
                    self._again.discard(container.id)
                    await self._keeper.keep_log(container.id, plan, subject)
        except (EngineError, OSError, KeyDestroyed):
            LOGGER.exception("the log of container %s is not kept any more", container.id)
        finally:
            del self._kept[container.id]
            self._again.discard(container.id)
