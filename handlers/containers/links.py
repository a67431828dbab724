"""Links: another container of the default bridge under a name of one's own, with its variables.

Source: https://docs.docker.com/engine/network/links/.
"""

import logging
import posixpath

from events.container_links import Link, full_alias, links_of
from events.container_lookup import find_container
from events.errors import EngineError, InvalidParameter, NotFound, NotModified
from events.log import Append
from events.messages.container import ContainerLinkRemoved, RemoveLink
from events.messages.network import LinkedNames, UpdateLinks
from events.projections.containers import Container, Containers
from handlers.containers.access import enter
from handlers.containers.errors import LinkedNotRunning
from handlers.context import Context

LOGGER = logging.getLogger(__name__)
_HOST_AND_LINKS = (
    "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
)


def parse(text: str) -> tuple[str, str]:
    """`name:alias`, `name`, or as inspect shows it (`/name:/container/alias`) -> (name, alias).

    Raises InvalidParameter."""
    if not text:
        raise InvalidParameter("empty string specified for links")
    name, separator, alias = text.partition(":")
    if name.startswith("/"):
        name, alias = name[1:], posixpath.basename(alias)
    alias = alias if separator else name
    if not name or not alias or ":" in alias:
        raise InvalidParameter(f"bad format for links: {text}")
    return name, alias


def resolve(texts: tuple[str, ...], containers: Containers) -> tuple[str, ...]:
    """What is stored for links as a client wrote them; of several with one alias the first counts, as in Docker.

    Raises InvalidParameter for a container that isn't there or has no address of its own."""
    found: dict[str, str] = {}
    for text in texts:
        name, alias = parse(text)
        found.setdefault(alias, _target(name, containers).id)
    return tuple(f"{target}:{alias}" for alias, target in found.items())


def _target(name: str, containers: Containers) -> Container:
    """The container with the address: the one whose network another shares."""
    try:
        target = find_container(containers, name)
        while target.host.network_mode.startswith("container:"):
            target = find_container(containers, target.host.network_mode.partition(":")[2])
    except NotFound as error:
        raise InvalidParameter(f"could not get container for {name}: {error}") from error
    if target.host.network_mode == "host":
        raise InvalidParameter(_HOST_AND_LINKS)
    return target


def names_here(context: Context, c: Container) -> tuple[LinkedNames, ...]:
    """What a container that is being started calls others. Raises LinkedNotRunning."""
    links = active(context, c)
    for link in links:
        if not link.target.is_live:
            raise LinkedNotRunning(link.target.name, full_alias(c, link))
    return tuple(map(_names, links))


def active(context: Context, c: Container) -> tuple[Link, ...]:
    """The links that act: those of a container on the default bridge."""
    return links_of(c, context.state.containers) if c.host.network_mode == "bridge" else ()


def _names(link: Link) -> LinkedNames:
    target = link.target
    names = dict.fromkeys((link.alias, target.config.hostname or target.id[:12], target.name))
    return LinkedNames(container_id=target.id, names=tuple(names))


async def tell(context: Context, c: Container) -> None:
    """Let those that link to a container know its address of this run; what goes wrong there is theirs."""
    for other in context.state.containers.linking_to(c.id):
        links = tuple(_names(link) for link in active(context, other) if link.target.id == c.id)
        if links and context.state.sandboxes.get(other.id):
            try:
                await context.send(UpdateLinks(container_id=other.id, links=links))
            except EngineError as error:
                LOGGER.warning("container %s isn't told the new address of %s: %s", other.name, c.name, error)


async def remove(context: Context, command: RemoveLink) -> None:
    """Answer RemoveLink. Raises NotModified for a link that isn't there."""

    def decision(c: Container) -> Append:
        if command.alias not in (link.alias for link in links_of(c, context.state.containers)):
            raise NotModified(f"container {c.name} has no link {command.alias}")
        event = ContainerLinkRemoved(container_id=c.id, alias=command.alias)
        return Append(stream=f"container/{c.id}", events=(event,), expected=c.version)

    await enter(context, command.container, "rename", decision, answer=None)
