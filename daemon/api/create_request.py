"""What of a create request counts in which version of the API. Pure."""

from collections.abc import Callable
from typing import Final

import msgspec

from daemon.api.bodies import CreateBody, HostBody
from daemon.shapes.go_values import Version
from events.errors import InvalidParameter
from events.messages.container import ContainerConfig, CreateContainer, EndpointConfig, HostConfig, Mount

Host = Callable[[HostConfig], HostConfig]
_replace = msgspec.structs.replace


class EmptyConfig(InvalidParameter):
    """Nothing was said about the container."""

    def __init__(self) -> None:
        super().__init__("config cannot be empty in order to create a container")


def create_command(body: CreateBody, name: str, platform: str, version: Version) -> CreateContainer:
    """The command for a request. Raises InvalidParameter."""
    if body.config == ContainerConfig():
        raise EmptyConfig
    return CreateContainer(
        name=name,
        config=config_as_of(body.config, version),
        host=host_as_of(body.host_config.host, version),
        endpoints=endpoints_as_of(body.networking_config.endpoints_config, version),
        platform=platform if version >= (1, 41) else "",
    )


def idle_fields(host: HostBody) -> tuple[str, ...]:
    """Warnings for what was given and has no effect."""
    kernel = "kernel memory limits have no effect: Linux has none since 5.4"
    windows = {
        "CpuCount": host.cpu_count,
        "CpuPercent": host.cpu_percent,
        "IOMaximumIOps": host.io_maximum_iops,
        "IOMaximumBandwidth": host.io_maximum_bandwidth,
    }
    return (
        *((kernel,) if host.kernel_memory or host.kernel_memory_tcp else ()),
        *(f"{name} has no effect: it is for Windows only" for name, value in windows.items() if value),
    )


def config_as_of(config: ContainerConfig, version: Version) -> ContainerConfig:
    """The start interval of probes came with 1.44."""
    check = config.healthcheck
    if check is None or version >= (1, 44):
        return config
    return _replace(config, healthcheck=_replace(check, start_interval=0))


def host_as_of(host: HostConfig, version: Version) -> HostConfig:
    """Without what a version doesn't know, with the defaults that it had."""
    for boundary, change in _HOST_CHANGES:
        if version < boundary:
            host = change(host)
    return host


def endpoints_as_of(endpoints: dict[str, EndpointConfig], version: Version) -> dict[str, EndpointConfig]:
    """Below 1.44 one network only, and no address of its own there; priorities came with 1.48."""
    if version < (1, 44) and len(endpoints) > 1:
        names = ", ".join(sorted(endpoints))
        raise InvalidParameter(f"Container cannot be created with multiple network endpoints: {names}")
    if version < (1, 44):
        endpoints = {name: _replace(endpoint, mac_address="") for name, endpoint in endpoints.items()}
    if version < (1, 48):
        endpoints = {name: _replace(endpoint, gw_priority=0) for name, endpoint in endpoints.items()}
    return endpoints


def _mounts(host: HostConfig, change: Callable[[Mount], Mount]) -> HostConfig:
    return _replace(host, mounts=tuple(map(change, host.mounts)))


def _recursive_binds(host: HostConfig) -> HostConfig:
    return _mounts(host, lambda mount: _with_bind(mount, non_recursive=False))


def _no_mountpoint_creation(host: HostConfig) -> HostConfig:
    return _replace(_mounts(host, lambda mount: _with_bind(mount, create_mountpoint=False)), console_size=(0, 0))


def _plain_read_only(host: HostConfig) -> HostConfig:
    """Read-only binds weren't recursive yet."""
    return _mounts(host, lambda mount: _with_bind(mount, read_only_non_recursive=True, read_only_force_recursive=False))


def _with_bind(mount: Mount, **changes: bool) -> Mount:
    if mount.bind_options is None:
        return mount
    return _replace(mount, bind_options=_replace(mount.bind_options, **changes))


def _no_subpath(host: HostConfig) -> HostConfig:
    if any(mount.volume_options and mount.volume_options.subpath for mount in host.mounts):
        raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")
    return host


_HOST_CHANGES: Final[tuple[tuple[Version, Host], ...]] = (
    ((1, 40), _recursive_binds),
    ((1, 40), lambda host: _replace(host, ipc_mode=host.ipc_mode or "shareable")),
    ((1, 41), lambda host: _replace(host, cgroupns_mode=host.cgroupns_mode or "host")),
    ((1, 42), _no_mountpoint_creation),
    ((1, 43), lambda host: _replace(host, annotations={})),
    ((1, 44), _plain_read_only),
    ((1, 45), _no_subpath),
)
