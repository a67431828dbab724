"""The read-write layers of containers: make, mount, unmount, remove. The container's own intents cover them."""

from events.messages import layer as m
from handlers.context import Context
from handlers.layers import decide
from handlers.layers.ports import GraphDriver
from handlers.turns import Turns


async def create(context: Context, command: m.CreateContainerLayer, driver: GraphDriver, turns: Turns) -> None:
    """Make a container's layer upon an image's topmost one. Raises NoSuchLayer."""
    cache_id = decide.container_cache_id(command.container_id)
    async with turns.of(cache_id):
        await driver.create(cache_id, decide.lineage(context.state.layers, command.parent, driver.name))


async def mount(context: Context, command: m.MountContainerLayer, driver: GraphDriver, turns: Turns) -> m.MountedLayer:
    """Mount it, or tell where it is mounted. Raises NoContainerLayer, NoSuchLayer."""
    parent = decide.container_parent(context.state, command.container_id)
    lineage = decide.lineage(context.state.layers, parent, driver.name)
    cache_id = decide.container_cache_id(command.container_id)
    async with turns.of(cache_id):
        return m.MountedLayer(path=await driver.mount(cache_id, lineage))


async def unmount(command: m.UnmountContainerLayer, driver: GraphDriver, turns: Turns) -> None:
    """Unmount it; not mounted, or not there, is fine."""
    cache_id = decide.container_cache_id(command.container_id)
    async with turns.of(cache_id):
        await driver.unmount(cache_id)


async def remove(command: m.RemoveContainerLayer, driver: GraphDriver, turns: Turns) -> None:
    """Remove it with all that is in it; absent is fine."""
    cache_id = decide.container_cache_id(command.container_id)
    async with turns.of(cache_id):
        await driver.remove(cache_id)
