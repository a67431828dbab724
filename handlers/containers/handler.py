"""The container handler: which verb answers which command, and recovery of what a killed daemon left open."""

from typing import Any

from events.base import Command
from events.container_lookup import find_container
from events.messages import container as m
from events.messages.exec import ResizeProcess
from handlers.containers import links
from handlers.containers.access import record_access
from handlers.containers.commit import commit
from handlers.containers.create import create
from handlers.containers.errors import NotRunning
from handlers.containers.exits import settle_exit
from handlers.containers.freeze import pause, unpause
from handlers.containers.health import change_health
from handlers.containers.limits import HostLimits
from handlers.containers.put_archive import put_archive
from handlers.containers.recovery import settle_all
from handlers.containers.remove import remove
from handlers.containers.rename import rename
from handlers.containers.start import start, start_again
from handlers.containers.stop import kill, restart, stop
from handlers.containers.update import update
from handlers.context import Context, Handle


class ContainerHandler:
    """Coordinates a container's life; the effects are those of the handlers that it asks."""

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """The table command -> coroutine."""
        return {
            m.CreateContainer: self._create,
            m.StartContainer: lambda context, command: start(context, command.container),
            m.StartAgain: start_again,
            m.StopContainer: lambda context, command: stop(context, command, answer=None),
            m.RestartContainer: restart,
            m.KillContainer: kill,
            m.PauseContainer: lambda context, command: pause(context, command.container),
            m.UnpauseContainer: lambda context, command: unpause(context, command.container),
            m.RenameContainer: rename,
            m.RemoveLink: links.remove,
            m.ResizeContainer: resize,
            m.RemoveContainer: remove,
            m.SettleExit: lambda context, command: settle_exit(context, command.container),
            m.UpdateContainer: self._update,
            m.ChangeHealth: change_health,
            m.RecordAccess: record_access,
            m.PutArchive: put_archive,
            m.CommitContainer: commit,
        }

    async def _create(self, context: Context, command: m.CreateContainer) -> m.CreatedContainer:
        return await create(context, command, self._limits)

    async def _update(self, context: Context, command: m.UpdateContainer) -> m.UpdatedContainer:
        return await update(context, command, self._limits)

    async def reconcile(self, context: Context) -> None:
        """Settle every open intent; a container that is stuck holds up nobody but the caller, who bounds the wait."""
        await settle_all(context.services)


async def resize(context: Context, command: m.ResizeContainer) -> None:
    """Answer ResizeContainer."""
    c = find_container(context.state.containers, command.container)
    if not c.is_live:
        raise NotRunning(c.id)
    await context.send(ResizeProcess(container_id=c.id, height=command.height, width=command.width))
    attributes = {"height": str(command.height), "width": str(command.width)}
    event = m.ContainerAccessed(container_id=c.id, action="resize", attributes=attributes)
    await context.append(f"container/{c.id}", event, answer=None)
