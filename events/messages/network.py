"""Everything that can be asked of networks and everything that can happen to them.

Words are those of the Container Network Model: a container has a sandbox (its network namespace), and in it one
endpoint for each network it is on.
"""

from typing import ClassVar, Final

import msgspec

from events.base import Command, Event

# Driver option of an endpoint on a predefined network: the address to have as long as it is free.
ADDRESS_WISH: Final = "dev.shiplog.address"


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    """One address pool of a network."""

    subnet: str  # CIDR
    gateway: str = ""
    ip_range: str = ""


class PortRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A port to publish; host_port 0 lets the engine choose, a range is tried from its start."""

    container_port: int
    protocol: str  # "tcp", "udp", "sctp"
    host_address: str = ""  # "": all addresses, IPv4 and IPv6
    host_port: int = 0
    host_port_end: int = 0  # inclusive; 0: no range


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port that is published."""

    container_port: int
    protocol: str
    host_address: str  # "0.0.0.0", "::" or the address asked for
    host_port: int


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a container wants of one network."""

    network: str  # name or id
    address: str = ""  # a fixed IPv4 address, or "" for any free one
    mac_address: str = ""
    aliases: tuple[str, ...] = ()
    driver_options: dict[str, str] = {}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A container's place on one network."""

    endpoint_id: str
    network_id: str
    network_name: str
    interface: str  # its name inside the sandbox; "" without one
    address: str  # IPv4, "" for none
    prefix_length: int
    gateway: str
    mac_address: str


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of OpenSandbox."""

    namespace_path: str  # "" for the host's own namespace
    connected: bool  # there is nothing to connect
    hosts_path: str  # files to mount into the container
    hostname_path: str
    resolv_conf_path: str


class LinkedNames(msgspec.Struct, frozen=True, kw_only=True):
    """Another container on the default bridge, and what it is called here."""

    container_id: str
    names: tuple[str, ...]  # the alias first


class OpenSandbox(Command[Sandbox], frozen=True, kw_only=True):
    """Choose a container's addresses and ports, and make its network namespace and name files, all or nothing."""

    TYPE: ClassVar[str] = "network.open_sandbox"
    container_id: str
    container_name: str
    hostname: str
    domainname: str = ""
    mode: str = "bridge"  # "bridge", "host", "none" or "container:<id>"
    endpoints: tuple[EndpointRequest, ...] = ()
    ports: tuple[PortRequest, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # `name:address` or `name:host-gateway`
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    links: tuple[LinkedNames, ...] = ()


class ConnectSandbox(Command[None], frozen=True, kw_only=True):
    """Plug an open sandbox's endpoints in and publish its ports; where that fails nothing of the sandbox is left."""

    TYPE: ClassVar[str] = "network.connect_sandbox"
    container_id: str
    container_name: str
    ports: tuple[PortRequest, ...] = ()  # as they were asked for


class UpdateLinks(Command[None], frozen=True, kw_only=True):
    """Somebody whom a connected container links to may have another address: write it into that one's hosts file."""

    TYPE: ClassVar[str] = "network.update_links"
    container_id: str  # that has the links
    links: tuple[LinkedNames, ...]


class DisconnectSandbox(Command[None], frozen=True, kw_only=True):
    """Take all of it down, addresses and ports are free again; absent is fine."""

    TYPE: ClassVar[str] = "network.disconnect_sandbox"
    container_id: str


class RemoveSandboxFiles(Command[None], frozen=True, kw_only=True):
    """Remove the name files of a container that is being removed; absent is fine."""

    TYPE: ClassVar[str] = "network.remove_sandbox_files"
    container_id: str


class NetworkCreateRequested(Event, frozen=True, kw_only=True):
    """Intent; takes the claim `network/<name>`. (Only the predefined networks so far.)"""

    TYPE: ClassVar[str] = "network.create_requested"
    network_id: str
    name: str
    driver: str
    subnets: tuple[Subnet, ...] = ()
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class NetworkCreated(Event, frozen=True, kw_only=True):
    """It can be used."""

    TYPE: ClassVar[str] = "network.created"
    network_id: str


class NetworkReconfigured(Event, frozen=True, kw_only=True):
    """A predefined network got another subnet or option from the daemon's configuration."""

    TYPE: ClassVar[str] = "network.reconfigured"
    network_id: str
    subnets: tuple[Subnet, ...]
    options: dict[str, str]


class SandboxRequested(Event, frozen=True, kw_only=True):
    """Intent: namespace, endpoints and ports will be made. Stream `sandbox/<container id>`; again: with other ports.

    Takes `address/<network id>/<ip>` and `port/<address>:<port>/<protocol>` claims.
    """

    TYPE: ClassVar[str] = "network.sandbox_requested"
    container_id: str
    mode: str
    endpoints: tuple[Endpoint, ...]
    ports: tuple[PublishedPort, ...]


class SandboxConnected(Event, frozen=True, kw_only=True):
    """Everything of it works."""

    TYPE: ClassVar[str] = "network.sandbox_connected"
    container_id: str


class SandboxConnectFailed(Event, frozen=True, kw_only=True):
    """Nothing of it is left; releases the claims."""

    TYPE: ClassVar[str] = "network.sandbox_connect_failed"
    container_id: str
    error: str


class SandboxDisconnected(Event, frozen=True, kw_only=True):
    """Nothing of it is left; releases the claims."""

    TYPE: ClassVar[str] = "network.sandbox_disconnected"
    container_id: str
