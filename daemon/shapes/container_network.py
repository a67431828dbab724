"""A container's networks as lists and inspect show them: what was asked for, and what it has while it runs."""

import msgspec

from daemon.shapes.go_values import JsonObject, Version, list_or_null, map_or_null
from daemon.shapes.layout import Layout
from daemon.shapes.ports import port_map
from events.messages.container import EndpointConfig
from events.messages.network import Endpoint
from events.projections.containers import Container
from events.projections.networks import SandboxState
from events.projections.state import State

DEFAULT_NETWORK = "bridge"


def network_names(container: Container) -> tuple[str, ...]:
    """The networks that a container asked for; none when it lives in another's sandbox."""
    if container.endpoints:
        return tuple(container.endpoints)
    mode = container.host.network_mode
    return () if mode.startswith("container:") else (mode,)


def networks(container: Container, state: State, version: Version) -> dict[str, JsonObject]:
    """The `Networks` object: network name -> endpoint settings, addresses empty while it doesn't run."""
    sandbox = state.sandboxes.get(container.id)
    live = {endpoint.network_name: endpoint for endpoint in sandbox.endpoints} if sandbox else {}
    names = dict.fromkeys((*network_names(container), *live))
    return {name: _settings(container.endpoints.get(name), live.get(name), name, state, version) for name in names}


def _settings(
    asked: EndpointConfig | None, endpoint: Endpoint | None, name: str, state: State, version: Version
) -> JsonObject:
    asked = asked or EndpointConfig()
    shape: JsonObject = {
        "IPAMConfig": msgspec.to_builtins(asked.ipam_config),
        "Links": list_or_null(asked.links),
        "Aliases": list_or_null(asked.aliases),
        "MacAddress": endpoint.mac_address if endpoint else asked.mac_address,
        "DriverOpts": map_or_null(asked.driver_opts),
        "GwPriority": asked.gw_priority,
        "NetworkID": endpoint.network_id if endpoint else _network_id(name, state),
        **_addresses(endpoint),
        "DNSNames": None,
    }
    for field, since in (("GwPriority", (1, 48)), ("DNSNames", (1, 44))):
        if version < since:
            del shape[field]
    return shape


def _network_id(name: str, state: State) -> str:
    found = state.networks.find(name)
    return found[0].id if len(found) == 1 else ""


def _addresses(endpoint: Endpoint | None) -> JsonObject:
    """The engine gives IPv4 addresses only; the IPv6 fields are there because clients read them."""
    return {
        "EndpointID": endpoint.endpoint_id if endpoint else "",
        "Gateway": endpoint.gateway if endpoint else "",
        "IPAddress": endpoint.address if endpoint else "",
        "IPPrefixLen": endpoint.prefix_length if endpoint else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
    }


def network_settings(container: Container, state: State, layout: Layout, version: Version) -> JsonObject:
    """The `NetworkSettings` object of inspect, with the fields of the default bridge that are gone from 1.52 on."""
    sandbox = state.sandboxes.get(container.id)
    return {
        "Bridge": "",
        "SandboxID": container.id if sandbox else "",  # a sandbox goes by its container's id
        "SandboxKey": layout.namespace_path(container.id) if sandbox and sandbox.mode != "host" else "",
        "Ports": port_map(container, sandbox),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **_default_bridge(sandbox),
        "Networks": networks(container, state, version),
    }


def _default_bridge(sandbox: SandboxState | None) -> JsonObject:
    endpoints = sandbox.endpoints if sandbox else ()
    endpoint = next((e for e in endpoints if e.network_name == DEFAULT_NETWORK), None)
    return {**_addresses(endpoint), "MacAddress": endpoint.mac_address if endpoint else ""}
