"""A container's configuration as inspect shows it, with Docker's choice of null, empty and absent."""

from typing import Final

import msgspec

from daemon.shapes.go_values import JsonObject, Version, without_empty
from events.messages.container import ContainerConfig, HostConfig, Mount
from events.messages.image import HealthcheckConfig

_CONFIG_OPTIONAL: Final = frozenset(
    {
        "ExposedPorts",
        "Healthcheck",
        "ArgsEscaped",
        "NetworkDisabled",
        "MacAddress",
        "StopSignal",
        "StopTimeout",
        "Shell",
    }
)
_CONFIG_NULL: Final = frozenset({"Env", "Cmd", "Entrypoint", "Volumes", "OnBuild"})
_HOST_OPTIONAL: Final = frozenset({"Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Mounts", "Runtime"})
_HOST_NULL: Final = frozenset(
    {
        "Binds",
        "VolumesFrom",
        "CapAdd",
        "CapDrop",
        "ExtraHosts",
        "GroupAdd",
        "Links",
        "SecurityOpt",
        "DeviceCgroupRules",
        "DeviceRequests",
    }
)
_WINDOWS: Final[JsonObject] = {"CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0}
_HEALTHCHECK_OPTIONAL: Final = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_MOUNT_OPTIONAL: Final = (
    "Source",
    "ReadOnly",
    "Consistency",
    "BindOptions",
    "VolumeOptions",
    "TmpfsOptions",
)
_OPTIONS_OPTIONAL: Final = (
    "Propagation",
    "NonRecursive",
    "CreateMountpoint",
    "ReadOnlyNonRecursive",
    "ReadOnlyForceRecursive",
    "NoCopy",
    "Labels",
    "Subpath",
    "DriverConfig",
    "Name",
    "Options",
    "SizeBytes",
    "Mode",
)


def config_shape(config: ContainerConfig, version: Version) -> JsonObject:
    """The `Config` object."""
    shape: JsonObject = msgspec.to_builtins(config)
    shape |= {name: shape[name] or None for name in _CONFIG_NULL}
    shape["Healthcheck"] = healthcheck_shape(config.healthcheck, version)
    kept = without_empty(shape, _CONFIG_OPTIONAL - {"StopTimeout"})
    if config.stop_timeout is None:
        del kept["StopTimeout"]
    return kept


def healthcheck_shape(check: HealthcheckConfig | None, version: Version) -> JsonObject | None:
    """How to probe; the start interval is known from 1.44."""
    if check is None:
        return None
    shape = without_empty(msgspec.to_builtins(check), _HEALTHCHECK_OPTIONAL)
    if version < (1, 44):
        shape.pop("StartInterval", None)
    return shape


def host_shape(host: HostConfig, version: Version) -> JsonObject:
    """The `HostConfig` object."""
    shape: JsonObject = msgspec.to_builtins(host)
    shape |= {name: shape[name] or None for name in _HOST_NULL}
    shape["Mounts"] = [mount_shape(mount) for mount in host.mounts]
    kept = without_empty(shape, _HOST_OPTIONAL)
    if host.init is None:
        del kept["Init"]
    if version < (1, 42):
        kept["KernelMemory"] = 0
    if version < (1, 43):
        kept.pop("Annotations", None)
    return kept | _WINDOWS


def mount_shape(mount: Mount) -> JsonObject:
    """A mount as it was asked for; options that were given show even when they say nothing."""
    shape: JsonObject = msgspec.to_builtins(mount)
    given = {name: _options(value) for name, value in shape.items() if name.endswith("Options") and value is not None}
    return without_empty(shape, _MOUNT_OPTIONAL) | given


def _options(values: object) -> JsonObject | None:
    """Nested options without what is unset."""
    if not isinstance(values, dict):
        return None
    nested = {key: _options(value) if key == "DriverConfig" else value for key, value in values.items()}
    return without_empty(nested, _OPTIONS_OPTIONAL)


def command_line(config: ContainerConfig) -> tuple[str, ...]:
    """Entrypoint and command, as they will run."""
    return (*(config.entrypoint or ()), *config.cmd)


def path_and_arguments(config: ContainerConfig) -> tuple[str, list[str]]:
    """`Path` and `Args` of inspect."""
    words = command_line(config)
    return (words[0], list(words[1:])) if words else ("", [])


def quoted_command(config: ContainerConfig) -> str:
    """The COMMAND column: words with a space are in single quotes, as `ps` of Docker shows them."""
    return " ".join(f"'{word}'" if " " in word else word for word in command_line(config))
