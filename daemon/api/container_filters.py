"""The filters of `GET /containers/json`, each by itself."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from daemon.api.filters import (
    Filters,
    InvalidFilterValue,
    begins,
    boolean,
    check_values,
    labelled,
)
from daemon.api.lookup import visible_container
from daemon.api.patterns import expressions
from daemon.shapes.container_network import networks
from daemon.shapes.container_status import STATUSES, docker_status, health_status
from daemon.shapes.containers import mounts
from daemon.shapes.go_values import NEWEST
from daemon.shapes.ports import PortRange, exposed, parse_range
from events.errors import InvalidParameter, NotFound
from events.lookup import find_image
from events.projections.containers import Container
from events.projections.state import State

HEALTHS: Final = ("none", "starting", "healthy", "unhealthy")
Predicate = Callable[[Container], bool]
Filter = Callable[[State, Filters], Predicate]  # raises what `select` raises


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a list was asked for besides its filters."""

    everything: bool = False  # also what doesn't run
    limit: int = 0  # the newest; implies `everything`; 0 is no limit


def select(state: State, filters: Filters, selection: Selection) -> list[Container]:
    """The containers of a list, newest first.

    Raises InvalidParameter for a value that can't be, NotFound for an unknown container in `before` or `since`.
    """
    predicates = [FILTERS[key](state, filters) for key in FILTERS if filters.get(key)]
    everything = selection.everything or selection.limit > 0 or "status" in filters
    newest_first = reversed(tuple(state.containers))
    found: Iterable[Container] = (c for c in newest_first if c.status != "creating" and (everything or c.is_up))
    for holds in predicates:
        found = filter(holds, found)
    return list(islice(found, selection.limit if selection.limit > 0 else None))


def _status(state: State, filters: Filters) -> Predicate:
    check_values(filters, "status", "state", STATUSES)
    return lambda c: docker_status(c) in filters["status"]


def _health(state: State, filters: Filters) -> Predicate:
    check_values(filters, "health", "health", HEALTHS)
    return lambda c: health_status(c) in filters["health"]


def _name(state: State, filters: Filters) -> Predicate:
    """With or without the slash that Docker puts before it."""
    matches = expressions(filters, "name")
    return lambda c: matches(c.name) or matches(f"/{c.name}")


def _id(state: State, filters: Filters) -> Predicate:
    return lambda c: begins(filters, "id", c.id)


def _label(state: State, filters: Filters) -> Predicate:
    return lambda c: labelled(filters, c.config.labels)


def _isolation(state: State, filters: Filters) -> Predicate:
    """Of Windows; Docker takes it everywhere."""
    return lambda _: True


def _task(state: State, filters: Filters) -> Predicate:
    """No container is a swarm's task."""
    wanted = boolean(filters, "is-task")
    return lambda _: not wanted


def _exited(state: State, filters: Filters) -> Predicate:
    codes = frozenset(_code(value) for value in filters["exited"])
    return lambda c: c.exit_code in codes and not c.is_up and c.started_at_ns != 0


def _code(value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InvalidFilterValue("exited", value, f'strconv.Atoi: parsing "{value}": invalid syntax') from error


def _before(state: State, filters: Filters) -> Predicate:
    """Older than all of them, in order of creation."""
    order = _order(state)
    upper = min(order[visible_container(state, name).id] for name in filters["before"])
    return lambda c: order[c.id] < upper


def _since(state: State, filters: Filters) -> Predicate:
    """Newer than all of them."""
    order = _order(state)
    lower = max(order[visible_container(state, name).id] for name in filters["since"])
    return lambda c: lower < order[c.id]


def _order(state: State) -> dict[str, int]:
    return {c.id: number for number, c in enumerate(state.containers)}


def _ancestor(state: State, filters: Filters) -> Predicate:
    """Made of one of these images, or of an image whose recorded parents include one; unknown images match nothing."""
    wanted = {image_id for name in filters["ancestor"] if (image_id := _image_id(state, name))}
    return lambda c: not wanted.isdisjoint(_image_line(state, c.image_id))


def _image_id(state: State, name: str) -> str:
    try:
        return find_image(state.images, name).id
    except (NotFound, InvalidParameter):
        return ""


def _image_line(state: State, image_id: str) -> set[str]:
    line: set[str] = set()
    while image_id and image_id not in line:
        line.add(image_id)
        image = state.images.get(image_id)
        image_id = image.parent if image else ""
    return line


def _network(state: State, filters: Filters) -> Predicate:
    """By a network's name or the beginning of its id."""

    def holds(c: Container) -> bool:
        found = networks(c, state, NEWEST)
        ids = [str(settings["NetworkID"]) for settings in found.values()]
        return any(name in found or any(key.startswith(name) for key in ids) for name in filters["network"])

    return holds


def _volume(state: State, filters: Filters) -> Predicate:
    """By a volume's name, its source on the host or its place in the container."""

    def holds(c: Container) -> bool:
        texts = {mount.get(field) for mount in mounts(c, state) for field in ("Name", "Source", "Destination")}
        return not texts.isdisjoint(filters["volume"])

    return holds


def _publish(state: State, filters: Filters) -> Predicate:
    """By a port of the host."""
    ranges = _ranges(filters, "publish")

    def holds(c: Container) -> bool:
        sandbox = state.sandboxes.get(c.id)
        ports = [(port.host_port, port.protocol) for port in sandbox.ports] if sandbox else []
        return any(port in wanted for wanted in ranges for port in ports)

    return holds


def _expose(state: State, filters: Filters) -> Predicate:
    """By a port of the container, while it runs."""
    ranges = _ranges(filters, "expose")

    def holds(c: Container) -> bool:
        live = state.sandboxes.get(c.id) is not None
        return live and any(port in wanted for wanted in ranges for port in exposed(c))

    return holds


def _ranges(filters: Filters, key: str) -> list[PortRange]:
    return [_range(key, value) for value in filters[key]]


def _range(key: str, value: str) -> PortRange:
    if ":" in value:
        raise InvalidParameter(f"filter for '{key}' should not contain ':': {value}")
    try:
        return parse_range(value)
    except ValueError as error:
        bad = value.partition("/")[0].partition("-")[0]
        reason = f'strconv.ParseUint: parsing "{bad}": invalid syntax'
        raise InvalidParameter(f"error while looking up for {key} {value}: {reason}") from error


# In the order in which values are checked.
FILTERS: Final[Mapping[str, Filter]] = {
    "status": _status,
    "health": _health,
    "name": _name,
    "id": _id,
    "label": _label,
    "is-task": _task,
    "isolation": _isolation,
    "exited": _exited,
    "before": _before,
    "since": _since,
    "ancestor": _ancestor,
    "network": _network,
    "volume": _volume,
    "publish": _publish,
    "expose": _expose,
}
KEYS: Final = frozenset(FILTERS)
