"""Which container a client means; without it queries and commands could disagree about a name."""

from events.errors import InvalidParameter, NotFound
from events.projections.containers import Container, Containers


class NoSuchContainer(NotFound):
    """Nothing has this id, name or prefix."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"No such container: {name}")


class AmbiguousContainer(InvalidParameter):
    """A prefix that several ids begin with."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(f"multiple IDs found with provided prefix: {prefix}")


def find_container(containers: Containers, name: str) -> Container:
    """The container with this id, name (with or without the leading slash) or unique id prefix, in that order.

    Raises NoSuchContainer, AmbiguousContainer.
    """
    found = containers.find(name)
    if not found:
        raise NoSuchContainer(name)
    if len(found) > 1:
        raise AmbiguousContainer(name)
    return found[0]
