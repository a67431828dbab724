"""The filters of `GET /containers/json`, each by itself."""

from collections.abc import Callable
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

KEYS: Final = frozenset(
    {
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    }
)
HEALTHS: Final = ("none", "starting", "healthy", "unhealthy")
Predicate = Callable[[Container], bool]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a list was asked for besides its filters."""

    everything: bool = False  # also what doesn't run
    limit: int = 0  # the newest; implies `everything`; 0 is no limit


def select(state: State, filters: Filters, selection: Selection) -> list[Container]:
    """The containers of a list, newest first.

    Raises InvalidParameter for a value that can't be, NotFound for an unknown container in `before` or `since`.
    """
    predicates = _predicates(state, filters)
    everything = selection.everything or selection.limit > 0 or "status" in filters
    newest_first = reversed(tuple(state.containers))
    candidates = (c for c in newest_first if c.status != "creating" and (everything or c.is_up))
    found = [c for c in candidates if all(holds(c) for holds in predicates)]
    return found[: selection.limit] if selection.limit > 0 else found


def _predicates(state: State, filters: Filters) -> tuple[Predicate, ...]:
    check_values(filters, "status", "state", STATUSES)
    check_values(filters, "health", "health", HEALTHS)
    named = expressions(filters, "name")
    return (
        lambda c: begins(filters, "id", c.id),
        lambda c: named(c.name) or named(f"/{c.name}"),
        lambda c: labelled(filters, c.config.labels),
        lambda c: not filters.get("status") or docker_status(c) in filters["status"],
        lambda c: not filters.get("health") or health_status(c) in filters["health"],
        _task(filters),
        _exited(filters),
        _place(state, filters),
        _ancestor(state, filters),
        lambda c: _on_network(c, state, filters),
        lambda c: _has_volume(c, state, filters),
        _published(state, filters),
        _exposed(state, filters),
    )


def _task(filters: Filters) -> Predicate:
    """No container is a swarm's task."""
    wanted = boolean(filters, "is-task")
    return lambda _: not wanted


def _exited(filters: Filters) -> Predicate:
    codes = frozenset(_code(value) for value in filters.get("exited", ()))
    return lambda c: not codes or (c.exit_code in codes and not c.is_up and c.started_at_ns != 0)


def _code(value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InvalidFilterValue("exited", value, f'strconv.Atoi: parsing "{value}": invalid syntax') from error


def _place(state: State, filters: Filters) -> Predicate:
    """Older than all of `before`, newer than all of `since`, in order of creation."""
    order = {c.id: number for number, c in enumerate(state.containers)}
    upper = min((order[visible_container(state, name).id] for name in filters.get("before", ())), default=len(order))
    lower = max((order[visible_container(state, name).id] for name in filters.get("since", ())), default=-1)
    return lambda c: lower < order[c.id] < upper


def _ancestor(state: State, filters: Filters) -> Predicate:
    """Made of one of these images, or of an image whose recorded parents include one; unknown images match nothing."""
    if not filters.get("ancestor"):
        return lambda _: True
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


def _on_network(c: Container, state: State, filters: Filters) -> bool:
    """By a network's name or the beginning of its id."""
    wanted = filters.get("network")
    if not wanted:
        return True
    found = networks(c, state, NEWEST)
    ids = [str(settings["NetworkID"]) for settings in found.values()]
    return any(name in found or any(key.startswith(name) for key in ids) for name in wanted)


def _has_volume(c: Container, state: State, filters: Filters) -> bool:
    """By a volume's name, its source on the host or its place in the container."""
    wanted = filters.get("volume")
    if not wanted:
        return True
    texts = {mount.get(field) for mount in mounts(c, state) for field in ("Name", "Source", "Destination")}
    return not texts.isdisjoint(wanted)


def _published(state: State, filters: Filters) -> Predicate:
    """By a port of the host."""
    ranges = _ranges(filters, "publish")

    def holds(c: Container) -> bool:
        sandbox = state.sandboxes.get(c.id)
        ports = [(port.host_port, port.protocol) for port in sandbox.ports] if sandbox else []
        return any(port in wanted for wanted in ranges for port in ports)

    return holds if ranges else lambda _: True


def _exposed(state: State, filters: Filters) -> Predicate:
    """By a port of the container, while it runs."""
    ranges = _ranges(filters, "expose")

    def holds(c: Container) -> bool:
        live = state.sandboxes.get(c.id) is not None
        return live and any(port in wanted for wanted in ranges for port in exposed(c))

    return holds if ranges else lambda _: True


def _ranges(filters: Filters, key: str) -> list[PortRange]:
    return [_range(key, value) for value in filters.get(key, ())]


def _range(key: str, value: str) -> PortRange:
    if ":" in value:
        raise InvalidParameter(f"filter for '{key}' should not contain ':': {value}")
    try:
        return parse_range(value)
    except ValueError as error:
        bad = value.partition("/")[0].partition("-")[0]
        reason = f'strconv.ParseUint: parsing "{bad}": invalid syntax'
        raise InvalidParameter(f"error while looking up for {key} {value}: {reason}") from error
