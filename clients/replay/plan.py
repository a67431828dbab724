"""What it takes to make another engine serve what a log's did. Pure: a state and keys in, requests out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from events.key_export import open_value
from events.messages.container import (
    ContainerConfig,
    ContainerSecrets,
    EndpointConfig,
    EndpointIpam,
    HostConfig,
    PortBinding,
)
from events.messages.network import ADDRESS_WISH
from events.opened import with_secrets
from events.projections.containers import Container
from events.projections.networks import Network, SandboxState
from events.projections.state import State
from events.projections.volumes import Volume
from events.sealed import Sealed

PREDEFINED: Final = frozenset({"bridge", "host", "none"})
_replace = msgspec.structs.replace

Body = dict[str, Any]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An object to make: `POST path?query` with a body. `problem`: why it can't be made as it was."""

    kind: str
    name: str
    path: str
    query: dict[str, str] = {}
    body: Body = {}
    problem: str = ""


class WantedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that must be there, under its names (canonical)."""

    id: str
    references: tuple[str, ...]


class WantedContainer(Wanted, frozen=True, kw_only=True):
    """A container, and what it did when the log ended."""

    id: str  # its former one
    image_id: str
    running: bool
    paused: bool
    started_at_ns: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, in the order of making."""

    networks: tuple[Wanted, ...]
    bridge_subnet: str  # of the default bridge, whose addresses containers are to have again; "" when none has one
    volumes: tuple[Wanted, ...]
    images: tuple[WantedImage, ...]
    containers: tuple[WantedContainer, ...]


def plan(state: State, keys: Mapping[str, bytes]) -> Plan:
    """What was there when the log ended."""
    containers = [c for c in state.containers if c.status in ("created", "running", "paused", "exited")]
    used = {container.image_id for container in containers}
    return Plan(
        networks=tuple(_network(each) for each in state.networks if _is_made(each)),
        bridge_subnet=_bridge_subnet(state),
        volumes=tuple(_volume(each, keys) for each in state.volumes if each.status == "ready"),
        images=tuple(
            WantedImage(id=image.id, references=image.references)
            for image in state.images
            if image.status == "ready" and (image.references or image.id in used)
        ),
        containers=tuple(_container(each, state, keys) for each in containers),
    )


def _is_made(network: Network) -> bool:
    return network.status == "ready" and network.name not in PREDEFINED


def _bridge_subnet(state: State) -> str:
    for network in state.networks:
        if network.name == "bridge" and any(True for _ in state.sandboxes.on_network(network.id)):
            return network.subnets[0].subnet if network.subnets else ""
    return ""


def _network(network: Network) -> Wanted:
    pools = [{"Subnet": each.subnet, "Gateway": each.gateway, "IPRange": each.ip_range} for each in network.subnets]
    body: Body = {
        "Name": network.name,
        "Driver": network.driver,
        "Options": network.options,
        "Labels": network.labels,
        "IPAM": {"Config": [{key: value for key, value in pool.items() if value} for pool in pools]},
    }
    return Wanted(kind="network", name=network.name, path="/networks/create", body=body)


def _volume(volume: Volume, keys: Mapping[str, bytes]) -> Wanted:
    options: dict[str, str] = {}
    problem = ""
    if volume.options is not None:
        opened = _opened(volume.options, keys)
        options = msgspec.json.decode(opened, type=dict[str, str]) if opened is not None else {}
        problem = _NO_KEY if opened is None else ""
    body: Body = {"Name": volume.name, "Driver": volume.driver, "DriverOpts": options, "Labels": volume.labels}
    return Wanted(kind="volume", name=volume.name, path="/volumes/create", body=body, problem=problem)


_NO_KEY: Final = "what it keeps sealed can't be opened: its key isn't in the export, make a newer one next time"


def _opened(sealed: Sealed, keys: Mapping[str, bytes]) -> bytes | None:
    return open_value(dict(keys), sealed.owner, sealed.nonce, sealed.ciphertext)


def _container(c: Container, state: State, keys: Mapping[str, bytes]) -> WantedContainer:
    opened = _opened(c.secrets, keys)
    secrets = ContainerSecrets() if opened is None else msgspec.json.decode(opened, type=ContainerSecrets)
    config, host = with_secrets(c.config, c.host, secrets)
    sandbox = state.sandboxes.get(c.id)
    body: Body = msgspec.to_builtins(_replace(_own(config, host), image=c.image_reference or c.image_id))
    body["HostConfig"] = msgspec.to_builtins(_named(_published(host, sandbox), state))
    body["NetworkingConfig"] = {"EndpointsConfig": msgspec.to_builtins(_endpoints(c, sandbox))}
    return WantedContainer(
        kind="container",
        name=c.name,
        path="/containers/create",
        query={"name": c.name},
        body=body,
        problem=_NO_KEY if opened is None else "",
        id=c.id,
        image_id=c.image_id,
        running=c.is_live,
        paused=c.status == "paused",
        started_at_ns=c.started_at_ns,
    )


def _published(host: HostConfig, sandbox: SandboxState | None) -> HostConfig:
    """Ports that the engine chose are asked for by number."""
    if sandbox is None or not sandbox.ports:
        return host
    bindings: dict[str, tuple[PortBinding, ...]] = dict(host.port_bindings)
    for key, asked in host.port_bindings.items():
        if any(binding.host_port in ("", "0") or "-" in binding.host_port for binding in asked):
            bindings[key] = _bindings(key, asked, sandbox)
    if host.publish_all_ports:
        for port in sandbox.ports:
            key = f"{port.container_port}/{port.protocol}"
            bindings.setdefault(key, (PortBinding(host_port=str(port.host_port)),))
    return _replace(host, port_bindings=bindings, publish_all_ports=False)


def _bindings(key: str, asked: tuple[PortBinding, ...], sandbox: SandboxState) -> tuple[PortBinding, ...]:
    number, _, protocol = key.partition("/")
    chosen = dict.fromkeys(
        port.host_port
        for port in sandbox.ports
        if str(port.container_port) == number and port.protocol == (protocol or "tcp")
    )
    if len(chosen) != len(asked):
        return asked
    return tuple(_replace(each, host_port=str(port)) for each, port in zip(asked, chosen, strict=True))


def _own(config: ContainerConfig, host: HostConfig) -> ContainerConfig:
    """Without what it has of somebody whose namespaces it shares: nobody may ask for that."""
    if host.network_mode.startswith("container:"):
        return _replace(config, hostname="", domainname="", exposed_ports={})
    return _replace(config, hostname="", domainname="") if host.uts_mode == "host" else config


def _named(host: HostConfig, state: State) -> HostConfig:
    """Ids of other containers are different there: names are the same."""

    def named(mode: str) -> str:
        kind, _, key = mode.partition(":")
        other = state.containers.get(key) if kind == "container" else None
        return f"container:{other.name}" if other else mode

    return _replace(
        host,
        network_mode=named(host.network_mode),
        pid_mode=named(host.pid_mode),
        ipc_mode=named(host.ipc_mode),
        cgroupns_mode=named(host.cgroupns_mode),
        links=tuple(f"{target.name}:{alias}" for target, alias in _links(host, state)),
        cgroup_parent="",  # that host's
    )


def _links(host: HostConfig, state: State) -> Iterator[tuple[Container, str]]:
    for text in host.links:
        key, _, alias = text.partition(":")
        target = state.containers.get(key)
        if target is not None:
            yield target, alias


def _endpoints(c: Container, sandbox: SandboxState | None) -> dict[str, EndpointConfig]:
    """What was asked of each network, and the address that the container had there."""
    endpoints = dict(c.endpoints)
    for endpoint in sandbox.endpoints if sandbox is not None else ():
        if not endpoint.address:
            continue
        name = endpoint.network_name
        asked = endpoints.get(name, EndpointConfig())
        if name in PREDEFINED:
            endpoints[name] = _replace(asked, driver_opts=asked.driver_opts | {ADDRESS_WISH: endpoint.address})
        else:
            ipam = _replace(asked.ipam_config or EndpointIpam(), ipv4_address=endpoint.address)
            endpoints[name] = _replace(asked, ipam_config=ipam)
    return endpoints
