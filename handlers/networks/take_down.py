"""Takes a sandbox off the host: used when it ends, when making it failed, and for what recovery finds."""

from collections.abc import Sequence
from functools import partial

from events.messages.network import Endpoint, PublishedPort
from handlers.networks.parts import Parts
from handlers.together import Step, together

UNDO_LIMIT_S = 30.0


async def take_down(
    parts: Parts,
    container_id: str,
    endpoints: Sequence[Endpoint],
    ports: Sequence[PublishedPort],
    *,
    wait_for_links: bool = False,
) -> None:
    """Withdraw ports, cut off endpoints, let go of the namespace; what is absent is fine.

    The kernel removes the links with the namespace, a little later. `wait_for_links` removes them at once, for
    namespaces that somebody else still holds.
    """
    steps: list[Step] = [partial(_leave, parts, container_id, endpoints, wait_for_links=wait_for_links)]
    if ports:
        steps.append(partial(parts.publisher.withdraw, container_id))
    await together(*steps)


async def _leave(parts: Parts, container_id: str, endpoints: Sequence[Endpoint], *, wait_for_links: bool) -> None:
    for endpoint in endpoints:
        if endpoint.address:
            await parts.driver.disconnect(container_id, endpoint)
    await parts.namespaces.remove(container_id)
    if wait_for_links:
        for endpoint in endpoints:
            if endpoint.address:
                await parts.driver.remove_link(parts.driver.link_name(endpoint))
