"""Links of the default bridge: which containers one knows by other names. Pure; commands and queries share it.

A link is kept as `<id of the target>:<alias>` in `HostConfig.links`, so that it outlives a renaming of either side.
"""

import msgspec

from events.projections.containers import Container, Containers


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One container as another knows it."""

    alias: str
    target: Container


def links_of(container: Container, containers: Containers) -> tuple[Link, ...]:
    """The links that a container has; those to containers that are gone are gone too."""
    found = []
    for text in container.host.links:
        target_id, _, alias = text.partition(":")
        target = containers.get(target_id)
        if target is not None:
            found.append(Link(alias=alias, target=target))
    return tuple(found)


def shown(container: Container, containers: Containers) -> tuple[str, ...]:
    """The links as inspect tells them: `/target:/container/alias`."""
    return tuple(f"/{link.target.name}:{full_alias(container, link)}" for link in links_of(container, containers))


def full_alias(container: Container, link: Link) -> str:
    """`/container/alias`, by which Docker's users know a link."""
    return f"/{container.name}/{link.alias}"


def other_names(target: Container, containers: Containers) -> tuple[str, ...]:
    """What a container is called by those that link to it: `/container/alias`."""
    return tuple(
        full_alias(container, link)
        for container in containers.linking_to(target.id)
        for link in links_of(container, containers)
        if link.target.id == target.id
    )
