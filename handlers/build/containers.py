"""The containers of a build: one for each step that runs something, or that dockerd has one for."""

import anyio

from events.errors import EngineError, NotFound
from events.messages import container as m
from events.messages.image import HealthcheckConfig
from handlers.build.workshop import CLEANUP_LIMIT_S, Workshop
from handlers.context import Context


class Containers:
    """Those that are there."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop, self._context = workshop, workshop.context
        self._telling = workshop.means.telling
        self._ids: list[str] = []

    async def create(self, image_id: str, process: tuple[str, ...], env: tuple[str, ...] = ()) -> str:
        """One of an image, for a process without entry point and probe; its id. Raises as CreateContainer."""
        command = self._workshop.command
        limits = {name: getattr(command.limits, name) for name in command.limits.__struct_fields__}
        probe = HealthcheckConfig(test=("NONE",))
        config = m.ContainerConfig(image=image_id, cmd=process, entrypoint=(), env=env, healthcheck=probe)
        host = m.HostConfig(network_mode=command.network_mode, extra_hosts=command.extra_hosts, **limits)
        with anyio.CancelScope(shield=True):  # one that is begun is known afterwards, and can be removed
            created = await self._context.send(m.CreateContainer(config=config, host=host))
            self._ids.append(created.container_id)
        self._telling.running(created.container_id)
        return created.container_id

    async def run(self, container_id: str) -> int:
        """To its end, passing on what it writes; its status. Raises as StartContainer."""
        failures: list[EngineError] = []
        pieces, output = self._workshop.means.outputs.follow(container_id), self._telling.output()

        async def pass_on() -> None:
            try:
                async for stream, data in pieces:
                    await output.write(stream, data)
            except EngineError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_on)
            try:
                await self._context.send(m.StartContainer(container=container_id))
            except EngineError as error:
                failures.append(error)
                tasks.cancel_scope.cancel("it doesn't run")
        if failures:
            raise failures[0]
        return await self._status(container_id)

    async def _status(self, container_id: str) -> int:
        containers = self._context.state.containers

        def has_ended() -> bool:
            known = containers.get(container_id)
            return known is None or (not known.is_live and known.operation not in ("start", "exit"))

        await self._context.until(f"container/{container_id}", has_ended, None)
        known = containers.get(container_id)
        if known is None:
            raise NotFound(f"No such container: {container_id}")
        return known.exit_code

    async def remove_all(self) -> None:
        """They go, and all that they have on the host."""
        with anyio.move_on_after(CLEANUP_LIMIT_S, shield=True):
            while self._ids:
                self._telling.removing(self._ids[0])
                await remove(self._context, self._ids[0])
                self._ids.pop(0)


async def remove(context: Context, container_id: str) -> None:
    """It goes, whatever it does; absent is fine."""
    try:
        await context.send(m.RemoveContainer(container=container_id, force=True, volumes=True))
    except NotFound:
        return
