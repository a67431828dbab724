"""Networks as the API shows them."""

from daemon.shapes.go_values import JsonObject, Version, without_empty
from daemon.shapes.times import rfc3339
from events.messages.network import Subnet
from events.projections.networks import Network
from events.projections.state import State

PREDEFINED = frozenset({"bridge", "host", "none"})


def summary(network: Network, version: Version) -> JsonObject:
    """A list entry: everything but who is on it."""
    shape: JsonObject = {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created_at_ns),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": any(":" in subnet.subnet for subnet in network.subnets),
        "IPAM": {"Driver": "default", "Options": None, "Config": [_pool(subnet) for subnet in network.subnets]},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    }
    if version < (1, 48):
        del shape["EnableIPv4"]
    return shape


def inspection(network: Network, state: State, version: Version) -> JsonObject:
    """A network with the containers that are on it."""
    return summary(network, version) | {"Containers": _containers(network, state)}


def _pool(subnet: Subnet) -> JsonObject:
    named = {"Subnet": subnet.subnet, "IPRange": subnet.ip_range, "Gateway": subnet.gateway}
    return without_empty(named, ("IPRange", "Gateway"))


def _containers(network: Network, state: State) -> JsonObject:
    found: JsonObject = {}
    for sandbox, endpoint in state.sandboxes.on_network(network.id):
        container = state.containers.get(sandbox.container_id)
        address = f"{endpoint.address}/{endpoint.prefix_length}" if endpoint.address else ""
        found[sandbox.container_id] = {
            "Name": container.name if container else "",
            "EndpointID": endpoint.endpoint_id,
            "MacAddress": endpoint.mac_address,
            "IPv4Address": address,
            "IPv6Address": "",
        }
    return found
