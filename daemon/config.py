"""What the daemon is told to be: flags and daemon.json become one frozen, checked struct before anything starts."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from daemon import directives, flags, values
from daemon.flags import ConfigurationInvalid
from events.messages.container import LogConfig, Ulimit
from handlers.images.registry_settings import RegistrySettings
from handlers.instance import Instance
from handlers.networks.settings import NetworkSettings

DEFAULT_SHM_BYTES = 64 * 1024 * 1024
DEFAULT_SHUTDOWN_TIMEOUT_S = 15
_SOCKET = "shiplog.sock"
LOGGING_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's configuration, defaults filled in. `sources` is what it was made from, by key."""

    instance: Instance
    hosts: tuple[str, ...]
    group: str  # of the unix socket
    pidfile: Path
    tls: directives.TlsFiles | None
    allow_unauthenticated_tcp: bool
    debug: bool
    log_level: str
    labels: tuple[str, ...]
    live_restore: bool
    shutdown_timeout_s: int  # -1: no limit
    storage_driver: str  # "": whichever is fit
    storage_options: dict[str, str]
    network: NetworkSettings
    registries: RegistrySettings
    runtimes: dict[str, str]  # name -> path, without the built-in runc
    default_runtime: str
    cgroup_driver: str
    cgroup_parent: str
    init: bool
    init_path: str  # "": what the host has
    default_ipc_mode: str
    default_cgroupns_mode: str  # "": by the version of cgroups
    seccomp_profile: str  # "" the engine's own, "unconfined", or JSON
    no_new_privileges: bool
    cpu_realtime_period_us: int  # 0: the kernel's
    cpu_realtime_runtime_us: int  # 0: nothing for containers
    default_ulimits: tuple[Ulimit, ...]
    default_shm_bytes: int
    log: LogConfig  # of containers that don't say
    nats_servers: tuple[str, ...]  # the relay's; none: no relay
    sources: dict[str, object]
    given: dict[str, object]  # the directives that came as flags
    file: Path

    @property
    def logging_level(self) -> int:
        """For the `logging` module; --debug wins."""
        return logging.DEBUG if self.debug else LOGGING_LEVELS[self.log_level]


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration file read again."""

    configuration: Configuration
    changed: tuple[str, ...]  # keys that act from now on
    postponed: tuple[str, ...]  # keys that act after a restart


def load(arguments: Sequence[str]) -> Configuration:
    """Flags and file. Raises ConfigurationInvalid; ends the process after --help, --version and --validate."""
    given = flags.parse(arguments)
    configuration = _assemble(given, _file(given))
    if given.get("validate"):
        flags.parser().exit(0, "configuration OK\n")
    return configuration


def reload(old: Configuration, path: Path | None = None) -> Reload:
    """Read the file again; what can't change in a running daemon stays as it was. Raises ConfigurationInvalid."""
    new = _assemble(old.given, path or old.file)
    differing = {key for key in old.sources.keys() | new.sources.keys() if old.sources.get(key) != new.sources.get(key)}
    changed = tuple(sorted(key for key in differing if flags.BY_KEY[key].reloadable))
    merged = {key: value for key, value in old.sources.items() if key not in changed}
    merged |= {key: new.sources[key] for key in changed if key in new.sources}
    configuration = _build(merged, old.given, new.file)
    return Reload(configuration=configuration, changed=changed, postponed=tuple(sorted(differing - set(changed))))


def _file(given: Mapping[str, object]) -> Path:
    instance = directives.instance_name(given)
    default = "daemon.json" if instance == directives.DEFAULT_INSTANCE else f"daemon-{instance}.json"
    return values.path(given.get("config-file", f"/etc/shiplog/{default}"))


def _assemble(given: dict[str, object], path: Path) -> Configuration:
    from_file = _read(path, required="config-file" in given)
    _refuse_unknown(from_file, path)
    _refuse_both(given, from_file, path)
    return _build({**from_file, **given}, given, path)


def _read(path: Path, *, required: bool) -> dict[str, object]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise ConfigurationInvalid(f"could not read {path}: no such file") from None
        return {}
    except OSError as error:
        raise ConfigurationInvalid(f"could not read {path}: {error.strerror}") from error
    if not content.strip():
        return {}
    try:
        return msgspec.json.decode(content, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ConfigurationInvalid(f"could not read {path}: {error}") from error


def _refuse_unknown(from_file: Mapping[str, object], path: Path) -> None:
    unknown = [key for key in from_file if key not in flags.BY_KEY or flags.BY_KEY[key].only_flag]
    if unknown:
        listed = ", ".join(unknown)
        raise ConfigurationInvalid(
            f"unable to configure the daemon with file {path}: "
            f"the following directives don't match any configuration option: {listed}"
        )


def _refuse_both(given: Mapping[str, object], from_file: Mapping[str, object], path: Path) -> None:
    both = [key for key in given if key in from_file]
    if both:
        listed = ", ".join(
            f"{key}: (from flag: {_shown(given[key])}, from file: {_shown(from_file[key])})" for key in both
        )
        raise ConfigurationInvalid(
            f"unable to configure the daemon with file {path}: "
            f"the following directives are specified both as a flag and in the configuration file: {listed}"
        )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _build(raw: dict[str, object], given: dict[str, object], path: Path) -> Configuration:
    read = directives.Directives(raw)
    instance = directives.instance(read, directives.instance_name(given))
    default_socket = instance.exec_root / _SOCKET
    hosts = read.all("hosts", lambda value: values.host(value, default_socket)) or (f"unix://{default_socket}",)
    tls = directives.tls(read)
    allow_plain = read.truth("allow-unauthenticated-tcp", default=False)
    if tls is None and not allow_plain and any(host.startswith("tcp://") for host in hosts):
        raise ConfigurationInvalid(
            "hosts: whoever can connect to a TCP port without TLS is root on this host: "
            "use --tlsverify, or say --allow-unauthenticated-tcp"
        )
    runtimes = read.named("runtimes", values.runtime)
    cgroup_driver = directives.cgroup_driver(read)
    return Configuration(
        instance=instance,
        hosts=tuple(directives.with_port(host, encrypted=tls is not None) for host in hosts),
        group=read.get("group", values.group, directives.default_group()),
        pidfile=read.get("pidfile", values.path, instance.exec_root / "shiplogd.pid"),
        tls=tls,
        allow_unauthenticated_tcp=allow_plain,
        debug=read.truth("debug", default=False),
        log_level=read.get("log-level", lambda value: values.choice(value, values.LOG_LEVELS, "log level"), "info"),
        labels=read.all("labels", values.label),
        live_restore=read.truth("live-restore", default=True),
        shutdown_timeout_s=read.get("shutdown-timeout", values.seconds, DEFAULT_SHUTDOWN_TIMEOUT_S),
        storage_driver=read.get(
            "storage-driver", lambda value: values.choice(value, values.STORAGE_DRIVERS, "driver"), ""
        ),
        storage_options=dict(read.all("storage-opts", values.storage_option)),
        network=directives.network(read),
        registries=directives.registries(read, path.parent),
        runtimes=runtimes,
        default_runtime=directives.default_runtime(read, runtimes),
        cgroup_driver=cgroup_driver,
        cgroup_parent=directives.cgroup_parent(read, instance, cgroup_driver),
        init=read.truth("init", default=False),
        init_path=read.get("init-path", values.program, ""),
        default_ipc_mode=read.get("default-ipc-mode", values.ipc_mode, "private"),
        default_cgroupns_mode=read.get("default-cgroupns-mode", values.cgroup_namespace_mode, ""),
        seccomp_profile=read.get("seccomp-profile", values.seccomp_profile, ""),
        no_new_privileges=read.truth("no-new-privileges", default=False),
        cpu_realtime_period_us=read.get("cpu-rt-period", values.microseconds, 0),
        cpu_realtime_runtime_us=read.get("cpu-rt-runtime", values.microseconds, 0),
        default_ulimits=tuple(read.named("default-ulimits", values.ulimit).values()),
        default_shm_bytes=read.get("default-shm-size", values.size_bytes, DEFAULT_SHM_BYTES),
        log=directives.log(read),
        nats_servers=read.get("nats-url", values.nats_servers, ()),
        sources=raw,
        given=given,
        file=path,
    )
