"""UpdateLinks: a container is told that another, whom it knows by a name of its own, has another address."""

from collections.abc import Sequence
from functools import partial

from events.messages.network import LinkedNames, UpdateLinks
from events.projections.networks import Sandboxes
from handlers.context import Context
from handlers.networks.decide import BRIDGE
from handlers.networks.names import relinked
from handlers.networks.parts import Parts


def addresses(sandboxes: Sandboxes, links: Sequence[LinkedNames]) -> dict[str, str]:
    """The present addresses of linked containers on the default bridge, by id; who has none is left out."""
    found = {}
    for link in links:
        sandbox = sandboxes.get(link.container_id)
        for endpoint in sandbox.endpoints if sandbox else ():
            if endpoint.network_name == BRIDGE and endpoint.address:
                found[link.container_id] = endpoint.address
    return found


async def update(parts: Parts, context: Context, command: UpdateLinks) -> None:
    """A container without a sandbox has nothing to update: its next start reads the addresses anew."""
    if context.state.sandboxes.get(command.container_id) is None:
        return
    known = addresses(context.state.sandboxes, command.links)
    change = partial(relinked, links=command.links, addresses=known)
    await parts.name_files.change_hosts(command.container_id, change)
