"""From the flags of `create` and `run` to the body of `POST /containers/create`. Pure, but for the files they name."""

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from clients.cli.human import parse_size

Options = Mapping[str, Any]
_NS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_PUBLISH = re.compile(
    r"(?:(?P<address>\[[^\]]*\]|[^:]*):)??(?:(?P<host>[\d-]*):)?(?P<inside>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?"
)


def body_of(options: Options, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Raises click.BadParameter for what can't be understood."""
    network = _networks(options)
    exposed, bindings = published(options["publish"], options["expose"])
    binds, anonymous = _volumes(options["volume"])
    body: dict[str, Any] = {
        "Image": options["image"],
        "Cmd": list(options["words"]) or None,
        "Entrypoint": _entrypoint(options["entrypoint"]),
        "Hostname": options["hostname"],
        "Domainname": options["domainname"],
        "User": options["user"],
        "Env": environment_of(options["env_file"], options["env"], environment),
        "Labels": labels_of(options["label_file"], options["label"]),
        "WorkingDir": options["workdir"],
        "Tty": options["tty"],
        "OpenStdin": options["interactive"],
        "StopSignal": options["stop_signal"],
        "StopTimeout": options["stop_timeout"],
        "ExposedPorts": {port: {} for port in exposed},
        "Volumes": {path: {} for path in anonymous},
        "MacAddress": options["mac_address"],
        "Healthcheck": _health(options),
        "HostConfig": _given({**_host(options), "Binds": binds, "PortBindings": bindings, "NetworkMode": network[0]}),
        "NetworkingConfig": {"EndpointsConfig": network[1]} if network[1] else {},
    }
    return _given(body)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what wasn't asked for; 0 is something."""
    return {key: value for key, value in fields.items() if value is not False and value not in (None, "", {}, [])}


def _host(options: Options) -> dict[str, Any]:
    return {
        "AutoRemove": options["rm"],
        "Init": options["init"] or None,
        "Privileged": options["privileged"],
        "ReadonlyRootfs": options["read_only"],
        "PublishAllPorts": options["publish_all"],
        "OomKillDisable": options["oom_kill_disable"] or None,
        "CgroupParent": options["cgroup_parent"],
        "CgroupnsMode": options["cgroupns"],
        "IpcMode": options["ipc"],
        "PidMode": options["pid"],
        "UsernsMode": options["userns"],
        "UTSMode": options["uts"],
        "Isolation": options["isolation"],
        "Runtime": options["runtime"],
        "VolumeDriver": options["volume_driver"],
        "BlkioWeight": options["blkio_weight"],
        "CpuPeriod": options["cpu_period"],
        "CpuQuota": options["cpu_quota"],
        "CpuRealtimePeriod": options["cpu_rt_period"],
        "CpuRealtimeRuntime": options["cpu_rt_runtime"],
        "CpuShares": options["cpu_shares"],
        "NanoCpus": nano_cpus(options["cpus"]) if options["cpus"] else None,
        "CpusetCpus": options["cpuset_cpus"],
        "CpusetMems": options["cpuset_mems"],
        "Memory": memory_bytes(options["memory"]),
        "MemoryReservation": memory_bytes(options["memory_reservation"]),
        "MemorySwap": memory_bytes(options["memory_swap"]),
        "KernelMemory": memory_bytes(options["kernel_memory"]),
        "MemorySwappiness": options["memory_swappiness"],
        "OomScoreAdj": options["oom_score_adj"],
        "PidsLimit": options["pids_limit"],
        "ShmSize": memory_bytes(options["shm_size"]),
        "CapAdd": list(options["cap_add"]),
        "CapDrop": list(options["cap_drop"]),
        "Dns": list(options["dns"]),
        "DnsOptions": list(options["dns_option"]),
        "DnsSearch": list(options["dns_search"]),
        "ExtraHosts": [
            host.replace("=", ":", 1) if ":" not in host.partition("=")[0] else host for host in options["add_host"]
        ],
        "GroupAdd": list(options["group_add"]),
        "Links": list(options["link"]),
        "VolumesFrom": list(options["volumes_from"]),
        "SecurityOpt": [_security(option) for option in options["security_opt"]],
        "StorageOpt": pairs(options["storage_opt"]),
        "Sysctls": pairs(options["sysctl"]),
        "Annotations": pairs(options["annotation"]),
        "Tmpfs": {path: rest for path, _, rest in (each.partition(":") for each in options["tmpfs"])},
        "Ulimits": [_ulimit(each) for each in options["ulimit"]],
        "Devices": [_device(each) for each in options["device"]],
        "DeviceRequests": [_gpus(each) for each in options["gpus"]],
        "DeviceCgroupRules": list(options["device_cgroup_rule"]),
        "BlkioWeightDevice": [_of_device(each, "Weight", int) for each in options["blkio_weight_device"]],
        "BlkioDeviceReadBps": [_of_device(each, "Rate", memory_bytes) for each in options["device_read_bps"]],
        "BlkioDeviceWriteBps": [_of_device(each, "Rate", memory_bytes) for each in options["device_write_bps"]],
        "BlkioDeviceReadIOps": [_of_device(each, "Rate", int) for each in options["device_read_iops"]],
        "BlkioDeviceWriteIOps": [_of_device(each, "Rate", int) for each in options["device_write_iops"]],
        "Mounts": [mount_of(each) for each in options["mount"]],
        "RestartPolicy": restart_policy_of(options["restart"]) if options["restart"] else None,
        "LogConfig": _log(options["log_driver"], options["log_opt"]),
    }


# ---- words


def _bad(flag: str, text: str, wanted: str) -> click.BadParameter:
    return click.BadParameter(f'invalid argument "{text}" for {flag}: use {wanted}')


def pairs(words: Iterable[str]) -> dict[str, str]:
    """`key=value` words."""
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def memory_bytes(text: str) -> int | None:
    """`512m` as bytes, `-1` as it is, "" as None. Raises click.BadParameter."""
    if not text:
        return None
    if text == "-1":
        return -1
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(f"invalid size: '{text}'") from error


def nano_cpus(text: str) -> int:
    """`1.5` as billionths of a CPU. Raises click.BadParameter."""
    try:
        return round(float(text) * 1e9)
    except ValueError as error:
        raise _bad("--cpus", text, "a number such as 1.5") from error


def duration_ns(flag: str, text: str) -> int:
    """`1m30s` as nanoseconds. Raises click.BadParameter."""
    found = _DURATION.findall(text)
    if "".join(number + unit for number, unit in found) != text:
        raise _bad(flag, text, "a duration such as 1m30s")
    return round(sum(float(number) * _NS[unit] for number, unit in found))


def restart_policy_of(text: str) -> dict[str, Any]:
    """`on-failure:3` as the API has it. Raises click.BadParameter."""
    name, colon, count = text.partition(":")
    if colon and not count.isdecimal():
        raise _bad("--restart", text, "no, on-failure[:N], always or unless-stopped")
    return {"Name": name, "MaximumRetryCount": int(count) if count else 0}


def _entrypoint(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [text]  # "" clears the image's


def environment_of(files: Sequence[str], words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Of files, then of the command line; a bare name has this shell's value, and is left out where it has none."""
    found: list[str] = []
    for word in [*(line for name in files for line in _lines(name)), *words]:
        name, equals, _ = word.partition("=")
        if not name:
            raise click.BadParameter(f"invalid environment variable: {word}")
        if equals:
            found.append(word)
        elif name in environment:
            found.append(f"{name}={environment[name]}")
    return found


def labels_of(files: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """Of files, then of the command line."""
    return pairs([*(line for name in files for line in _lines(name)), *words])


def _lines(name: str) -> list[str]:
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{name} can't be read: {error}") from error
    return [line.lstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _health(options: Options) -> dict[str, Any] | None:
    if options["no_healthcheck"]:
        return {"Test": ["NONE"]}
    durations = {
        "Interval": "health_interval",
        "Timeout": "health_timeout",
        "StartPeriod": "health_start_period",
        "StartInterval": "health_start_interval",
    }
    health: dict[str, Any] = {
        key: duration_ns("--" + name.replace("_", "-"), options[name])
        for key, name in durations.items()
        if options[name]
    }
    if options["health_cmd"]:
        health["Test"] = ["CMD-SHELL", options["health_cmd"]]
    if options["health_retries"] is not None:
        health["Retries"] = options["health_retries"]
    return health or None


def _log(driver: str, words: Sequence[str]) -> dict[str, Any] | None:
    return {"Type": driver, "Config": pairs(words)} if driver or words else None


def _security(option: str) -> str:
    """A seccomp profile travels as its text."""
    key, separator, value = option.partition("=" if "=" in option else ":")
    if key != "seccomp" or value in ("", "unconfined", "builtin"):
        return option
    try:
        profile = msgspec.json.decode(Path(value).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise click.BadParameter(f"opening seccomp profile ({value}) failed: {error}") from error
    return f"seccomp{separator}{msgspec.json.encode(profile).decode()}"


def _ulimit(text: str) -> dict[str, Any]:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    try:
        return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}
    except ValueError as error:
        raise _bad("--ulimit", text, "name=soft[:hard]") from error


def _device(text: str) -> dict[str, str]:
    outside, *rest = text.split(":")
    inside, permissions = outside, "rwm"
    for word in rest:
        if set(word) <= set("rwm") and word:
            permissions = word
        else:
            inside = word
    return {"PathOnHost": outside, "PathInContainer": inside, "CgroupPermissions": permissions}


def _gpus(text: str) -> dict[str, Any]:
    """`all`, `2` or `driver=nvidia,device=0,capabilities=utility` as the API has it."""
    found = pairs(text.split(",")) if "=" in text else {"count": text}
    count = found.get("count", "")
    if count not in ("", "all") and not count.isdecimal():
        raise _bad("--gpus", text, "all, a number or device=ID")
    return {
        "Driver": found.get("driver", ""),
        "Count": -1 if count == "all" else int(count or 0),
        "DeviceIDs": found["device"].split(";") if "device" in found else None,
        "Capabilities": [["gpu", *filter(None, found.get("capabilities", "").split(";"))]],
        "Options": {},
    }


def _of_device(text: str, key: str, parse: Any) -> dict[str, Any]:
    path, colon, value = text.rpartition(":")
    if not colon:
        raise click.BadParameter(f"bad format: {text}: use /dev/NAME:VALUE")
    try:
        return {"Path": path, key: parse(value)}
    except ValueError as error:
        raise click.BadParameter(f"invalid value for device: {text}") from error


# ---- volumes and mounts


def _volumes(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Binds, and paths of anonymous volumes; a relative source becomes an absolute one."""
    binds, anonymous = [], []
    for word in words:
        source, colon, rest = word.partition(":")
        if not colon:
            anonymous.append(word)
        elif source.startswith((".", "~")):
            binds.append(f"{Path(source).expanduser().resolve()}:{rest}")
        else:
            binds.append(word)
    return binds, anonymous


_MOUNT_KEYS = {
    "type": "Type",
    "source": "Source",
    "src": "Source",
    "destination": "Target",
    "dst": "Target",
    "target": "Target",
    "consistency": "Consistency",
}
_MOUNT_SWITCHES = {
    "bind-nonrecursive": ("BindOptions", "NonRecursive"),
    "bind-create-src": ("BindOptions", "CreateMountpoint"),
    "volume-nocopy": ("VolumeOptions", "NoCopy"),
}


def mount_of(text: str) -> dict[str, Any]:
    """`type=volume,src=data,dst=/data,readonly` as the API has it. Raises click.BadParameter."""
    mount: dict[str, Any] = {"Type": "volume"}
    for field in _csv(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if key in _MOUNT_KEYS:
            mount[_MOUNT_KEYS[key]] = value
        elif key in ("readonly", "ro"):
            mount["ReadOnly"] = _boolean(text, value) if equals else True
        elif key in _MOUNT_SWITCHES:
            group, name = _MOUNT_SWITCHES[key]
            mount.setdefault(group, {})[name] = _boolean(text, value) if equals else True
        else:
            _special(mount, key, value, text)
    if mount["Type"] == "bind" and str(mount.get("Source", "")).startswith("."):
        mount["Source"] = str(Path(mount["Source"]).resolve())
    return mount


def _special(mount: dict[str, Any], key: str, value: str, text: str) -> None:
    match key:
        case "bind-propagation":
            mount.setdefault("BindOptions", {})["Propagation"] = value
        case "bind-recursive":
            extra = {
                "disabled": "NonRecursive",
                "writable": "ReadOnlyNonRecursive",
                "readonly": "ReadOnlyForceRecursive",
            }
            if value in extra:
                mount.setdefault("BindOptions", {})[extra[value]] = True
            elif value != "enabled":
                raise _bad("--mount", text, "bind-recursive=enabled, disabled, writable or readonly")
        case "volume-subpath":
            mount.setdefault("VolumeOptions", {})["Subpath"] = value
        case "image-subpath":
            mount.setdefault("ImageOptions", {})["Subpath"] = value
        case "volume-driver":
            mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})["Name"] = value
        case "volume-label":
            mount.setdefault("VolumeOptions", {}).setdefault("Labels", {}).update(pairs([value]))
        case "volume-opt":
            configuration = mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})
            configuration.setdefault("Options", {}).update(pairs([value]))
        case "tmpfs-size":
            mount.setdefault("TmpfsOptions", {})["SizeBytes"] = memory_bytes(value)
        case "tmpfs-mode":
            mount.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
        case _:
            raise click.BadParameter(f"unexpected key '{key}' in '{text}'")


def _csv(text: str) -> list[str]:
    """Commas part fields, unless they stand in double quotes."""
    parts = shlex.shlex(text, posix=True)
    parts.whitespace, parts.whitespace_split, parts.commenters, parts.quotes = ",", True, "", '"'
    return list(parts)


def _boolean(text: str, value: str) -> bool:
    if value.lower() in ("1", "true", "t"):
        return True
    if value.lower() in ("0", "false", "f"):
        return False
    raise click.BadParameter(f"invalid value in '{text}': {value} is neither true nor false")


# ---- ports and networks


def published(words: Iterable[str], exposed: Iterable[str]) -> tuple[list[str], dict[str, list[dict[str, str]]]]:
    """Exposed ports, and bindings of published ones; ranges are taken apart. Raises click.BadParameter."""
    ports = [f"{port}/{protocol}" for word in exposed for port, protocol in _exposed(word)]
    bindings: dict[str, list[dict[str, str]]] = {}
    for word in words:
        match = _PUBLISH.fullmatch(word)
        if match is None:
            raise _bad("--publish", word, "[[IP:]HOST:]CONTAINER[/tcp|udp|sctp]")
        address, protocol = (match["address"] or "").strip("[]"), match["protocol"] or "tcp"
        inside = _range(match["inside"])
        outside = _outside(word, match["host"] or "", len(inside))
        for number, host in zip(inside, outside, strict=True):
            port = f"{number}/{protocol}"
            ports.append(port)
            bindings.setdefault(port, []).append({"HostIp": address, "HostPort": host})
    return list(dict.fromkeys(ports)), bindings


def _outside(word: str, text: str, count: int) -> list[str]:
    if not text:
        return [""] * count
    numbers = _range(text)
    if count == 1 and len(numbers) > 1:
        return [text]  # the engine takes a free one of them
    if len(numbers) != count:
        raise click.BadParameter(f"invalid ranges specified for container and host Ports: {word}")
    return [str(number) for number in numbers]


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _exposed(word: str) -> list[tuple[int, str]]:
    text, _, protocol = word.partition("/")
    if not re.fullmatch(r"\d+(-\d+)?", text):
        raise _bad("--expose", word, "PORT[-PORT][/PROTOCOL]")
    return [(number, protocol or "tcp") for number in _range(text)]


def _networks(options: Options) -> tuple[str, dict[str, Any]]:
    """The mode, and what is asked of each network."""
    names = options["network"] or ("default",)
    endpoints: dict[str, Any] = {}
    for index, word in enumerate(names):
        fields = pairs(_csv(word)) if "=" in word else {"name": word}
        endpoint: dict[str, Any] = {"Aliases": [fields["alias"]] if "alias" in fields else []}
        addresses: dict[str, Any] = {"IPv4Address": fields.get("ip", ""), "IPv6Address": fields.get("ip6", "")}
        if index == 0:
            endpoint["Aliases"] += list(options["network_alias"])
            addresses = {
                "IPv4Address": options["ip"] or addresses["IPv4Address"],
                "IPv6Address": options["ip6"] or addresses["IPv6Address"],
                "LinkLocalIPs": list(options["link_local_ip"]),
            }
        endpoint["IPAMConfig"] = {key: value for key, value in addresses.items() if value}
        if "mac-address" in fields:
            endpoint["MacAddress"] = fields["mac-address"]
        endpoints[fields["name"]] = {key: value for key, value in endpoint.items() if value}
    first = next(iter(endpoints))
    wanted = {name: endpoint for name, endpoint in endpoints.items() if endpoint or len(endpoints) > 1}
    return first, wanted
