"""The read-write layers of containers: make, mount, unmount, remove. The container's own intents cover them."""

from events.messages import layer as m
from handlers.context import Context
from handlers.layers import decide
from handlers.layers.ports import ContainerFiles, Copying, Extraction, GraphDriver, Subject
from handlers.turns import Turns


async def create(context: Context, command: m.CreateContainerLayer, driver: GraphDriver, turns: Turns) -> None:
    """Make a container's layer upon an image's topmost one. Raises NoSuchLayer, BadStorageOption."""
    cache_id = decide.container_cache_id(command.container_id)
    async with turns.of(cache_id):
        lineage = decide.lineage(context.state.layers, command.parent, driver.name)
        await driver.create(cache_id, lineage, command.options)


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


async def extract(
    context: Context, command: m.ExtractIntoContainer, driver: GraphDriver, files: ContainerFiles, turns: Turns
) -> None:
    """Put an archive into it; nobody mounts, unmounts or removes it meanwhile. Raises as `ContainerFiles.extract`."""
    subject = decide.subject(
        context.state, command.container_id, driver.name, command.mounts, writable=command.writable
    )
    extraction = Extraction(
        archive=command.path,
        directory=command.directory,
        no_overwrite_dir_non_dir=command.no_overwrite_dir_non_dir,
        owner=command.owner,
    )
    async with turns.of(decide.container_cache_id(command.container_id)):
        await files.extract(subject, extraction)


async def archive_changes(
    context: Context, command: m.ArchiveChanges, driver: GraphDriver, files: ContainerFiles, turns: Turns
) -> m.ArchivedChanges:
    """Its changes as a layer tar; nobody unmounts or removes it meanwhile. Raises NoContainerLayer, SystemFailure."""
    subject = _layer(context, command, driver)
    async with turns.of(decide.container_cache_id(command.container_id)):
        return await files.archive_changes(subject, command.path)


async def copy_into(
    context: Context, command: m.CopyIntoLayer, driver: GraphDriver, files: ContainerFiles, turns: Turns
) -> None:
    """Put files into it. Raises as `ContainerFiles.copy`."""
    copying = Copying(
        archive=command.path,
        destination=command.destination,
        is_directory=command.is_directory,
        owner=command.owner,
    )
    async with turns.of(decide.container_cache_id(command.container_id)):
        await files.copy(_layer(context, command, driver), copying)


async def collect(
    context: Context, command: m.CollectFiles, driver: GraphDriver, files: ContainerFiles, turns: Turns
) -> m.CollectedFiles:
    """Files of it as a tar. Raises as `ContainerFiles.collect`."""
    async with turns.of(decide.container_cache_id(command.container_id)):
        path = await files.collect(_layer(context, command, driver), command.path, command.target)
    return m.CollectedFiles(path=path)


def _layer(
    context: Context, command: m.ArchiveChanges | m.CopyIntoLayer | m.CollectFiles, driver: GraphDriver
) -> Subject:
    """The layer by itself, without what a container mounts in it."""
    return decide.subject(context.state, command.container_id, driver.name, (), writable=True, parent=command.parent)


async def remove(command: m.RemoveContainerLayer, driver: GraphDriver, turns: Turns) -> None:
    """Remove it with all that is in it; absent is fine."""
    cache_id = decide.container_cache_id(command.container_id)
    async with turns.of(cache_id):
        await driver.remove(cache_id)
