"""Renaming: one append that moves the claim, so that no moment has both names free or both taken."""

from events.errors import Conflict, InvalidParameter
from events.log import Append, ClaimTaken
from events.messages import container as m
from events.projections.containers import Container
from handlers.containers import decide, names
from handlers.containers.access import enter
from handlers.containers.errors import InvalidName, NameTaken
from handlers.context import Context


async def rename(context: Context, command: m.RenameContainer) -> None:
    """Answer RenameContainer."""
    if not command.name or not command.container:
        raise InvalidParameter("Neither old nor new names may be empty")
    try:
        name = names.check_name(command.name)
    except InvalidName as error:
        shown = command.name if command.name.startswith("/") else f"/{command.name}"
        raise InvalidParameter(f"Error when allocating new name: {InvalidName(shown)}") from error

    def decision(c: Container) -> Append:
        if c.name == name:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        return Append(
            stream=f"container/{c.id}",
            events=(m.ContainerRenamed(container_id=c.id, old_name=c.name, name=name),),
            expected=c.version,
            release=(decide.claim(c.name),),
            take=(decide.claim(name),),
        )

    try:
        await enter(context, command.container, "rename", decision, answer=None)
    except ClaimTaken as taken:
        taker = NameTaken(name, taken.holder.removeprefix("container/"))
        raise Conflict(f"Error when allocating new name: {taker}") from taken
