"""Removing: the process if it must be, then all that belongs to the container, at last its name and its key."""

from functools import partial

from events.base import Command
from events.container_lookup import find_container
from events.errors import SystemFailure, reason_of
from events.messages import container as m
from events.messages.exec import RemoveProcessFiles
from events.messages.image import ReleaseImage
from events.messages.layer import RemoveContainerLayer
from events.messages.network import RemoveSandboxFiles
from events.messages.volume import ReleaseVolume
from events.projections.containers import Container
from handlers.containers import decide
from handlers.containers.access import conclude, current, enter
from handlers.containers.settle import take_down
from handlers.containers.stop import end
from handlers.context import Context
from handlers.together import together


async def remove(context: Context, command: m.RemoveContainer) -> None:
    """Answer RemoveContainer when nothing of it is left."""
    c = find_container(context.state.containers, command.container)
    await enter(
        context,
        c.id,
        "remove",
        lambda state: decide.remove(state, command.container, force=command.force, volumes=command.volumes),
    )
    await carry_out(context, c.id, volumes=command.volumes)


async def carry_out(context: Context, container_id: str, *, volumes: bool) -> None:
    """The removal itself, also when recovery finishes it. What resists leaves the container dead, to be tried again."""
    c = current(context, container_id)
    try:
        if c.is_live:
            await end(context, c)
            c = current(context, container_id)
        if c.leftovers or c.status == "dead":
            await _clear_leftovers(context, c)
        await _clear(context, c, volumes=volumes)
    except BaseException as error:
        failed = m.ContainerRemoveFailed(container_id=container_id, error=reason_of(error))
        await conclude(context, container_id, failed)
        raise
    name = current(context, container_id).name
    removed = m.ContainerRemoved(container_id=container_id)
    await conclude(context, container_id, removed, release=(decide.claim(name),), answer=None)
    await context.keyring.destroy(f"container/{container_id}")


async def _clear_leftovers(context: Context, c: Container) -> None:
    left = await take_down(context, c)
    if left:
        raise SystemFailure(f"cannot remove container {c.name}: {'; '.join(left)}")


async def _clear(context: Context, c: Container, *, volumes: bool) -> None:
    commands: list[Command[None]] = [
        RemoveProcessFiles(container_id=c.id),
        RemoveSandboxFiles(container_id=c.id),
        RemoveContainerLayer(container_id=c.id),
        *(
            ReleaseVolume(name=point.name, container_id=c.id, remove=volumes and point.anonymous)
            for point in c.mounts
            if point.type == "volume"
        ),
        ReleaseImage(image_id=c.image_id, container_id=c.id),
    ]
    await together(*(partial(context.send, command) for command in commands))
