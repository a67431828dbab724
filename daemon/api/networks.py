"""Endpoints about networks: the predefined ones can be looked at, others can't be made yet."""

from typing import Final

from daemon.api.answers import as_json
from daemon.api.bodies import NetworkBody, read_body
from daemon.api.engine import Engine
from daemon.api.filters import begins, boolean, equals, labelled
from daemon.api.lookup import NoSuchNetwork, find_network
from daemon.api.patterns import expressions
from daemon.api.prune_filters import KEYS as PRUNE_KEYS
from daemon.api.prune_filters import Prunable
from daemon.http.messages import Answer, Request
from daemon.http.query import InvalidFilter, filters, text
from daemon.shapes.networks import PREDEFINED, inspection, summary
from events.errors import Forbidden, InvalidParameter, Unsupported
from events.projections.networks import Network
from events.projections.state import State

KEYS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_BOOLEANS: Final = frozenset({"", "0", "1", "t", "f", "true", "false", "True", "False", "TRUE", "FALSE", "T", "F"})


async def list_networks(engine: Engine, request: Request) -> Answer:
    """`GET /networks`."""
    found = select(engine.state, filters(request.query, KEYS))
    if request.version < (1, 28):
        return as_json([inspection(network, engine.state, request.version) for network in found])
    return as_json([summary(network, request.version) for network in found])


def select(state: State, wanted: dict[str, tuple[str, ...]]) -> list[Network]:
    """Networks that pass the filters. Raises InvalidParameter."""
    dangling = _dangling(wanted)
    named = expressions(wanted, "name")
    for kind in wanted.get("type", ()):
        if kind not in ("builtin", "custom"):
            raise InvalidParameter(f"invalid filter: 'type'='{kind}'")
    return [
        network
        for network in state.networks
        if network.status == "ready"
        and named(network.name)
        and begins(wanted, "id", network.id)
        and equals(wanted, "driver", network.driver)
        and equals(wanted, "scope", "local")
        and equals(wanted, "type", "builtin" if network.name in PREDEFINED else "custom")
        and labelled(wanted, network.labels)
        and (dangling is None or dangling == is_dangling(network, state))
    ]


def _dangling(wanted: dict[str, tuple[str, ...]]) -> bool | None:
    try:
        return boolean(wanted, "dangling")
    except InvalidFilter as error:
        values = 'must be "true" (or "1"), or "false" (or "0")'
        raise InvalidParameter(f"invalid value for filter 'dangling', {values}") from error


def is_dangling(network: Network, state: State) -> bool:
    """Made by somebody and used by nobody."""
    return network.name not in PREDEFINED and not any(state.sandboxes.on_network(network.id))


async def inspect_network(engine: Engine, request: Request) -> Answer:
    """`GET /networks/{id}`."""
    name, verbose = request.parameters["id"], text(request.query, "verbose")
    if verbose not in _BOOLEANS:
        reason = f'strconv.ParseBool: parsing "{verbose}": invalid syntax'
        raise InvalidParameter(f"invalid value for verbose: {verbose}: {reason}")
    if text(request.query, "scope") not in ("", "local"):
        raise NoSuchNetwork(name)
    return as_json(inspection(find_network(engine.state, name), engine.state, request.version))


async def create_network(engine: Engine, request: Request) -> Answer:
    """`POST /networks/create`."""
    body = await read_body(request, NetworkBody)
    if not body.name:
        raise InvalidParameter("invalid name: name is empty")
    if body.name in PREDEFINED:
        raise Forbidden(f"operation is not permitted on predefined {body.name} network ")
    raise Unsupported("creating networks is not supported yet: containers can use bridge, host and none")


async def remove_network(engine: Engine, request: Request) -> Answer:
    """`DELETE /networks/{id}`."""
    network = find_network(engine.state, request.parameters["id"])
    if network.name in PREDEFINED:
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
    raise Unsupported("removing networks is not supported yet")


async def change_network(engine: Engine, request: Request) -> Answer:
    """`POST /networks/{id}/connect` and `/disconnect`."""
    find_network(engine.state, request.parameters["id"])
    raise Unsupported("connecting and disconnecting containers is not supported yet: choose the network at create")


async def prune_networks(engine: Engine, request: Request) -> Answer:
    """`POST /networks/prune`: the predefined networks, the only ones there are, stay."""
    prunable = Prunable(filters(request.query, PRUNE_KEYS), engine.clock.now_ns())
    idle = [network for network in engine.state.networks if is_dangling(network, engine.state)]
    if any(prunable.takes(network.labels, network.created_at_ns) for network in idle):
        raise Unsupported("removing networks is not supported yet")
    return as_json({"NetworksDeleted": None})
