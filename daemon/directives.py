"""Directives taken together: what one alone can't tell. Without it a default would be spelled in many places."""

import grp
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from daemon import values
from daemon.flags import ConfigurationInvalid
from events.errors import EngineError
from events.messages.container import LogConfig
from handlers.exec import log_options
from handlers.images.registry_settings import Proxies, RegistrySettings
from handlers.instance import Instance
from handlers.networks.settings import DEFAULT_POOLS, NetworkSettings

DEFAULT_INSTANCE = "default"
_PROXIES = frozenset({"http-proxy", "https-proxy", "no-proxy"})
_INSTANCE = re.compile(r"[a-z0-9-]{1,32}")


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What mutual TLS needs."""

    authority: Path  # signs the clients' certificates
    certificate: Path
    key: Path


class Directives:
    """Reads values with their defaults, and names the directive that is wrong."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        self._raw = raw

    def __contains__(self, key: str) -> bool:
        return key in self._raw

    def get(self, key: str, parse: Callable[[object], values.Value], default: values.Value) -> values.Value:
        """The value of a key, or its default when it isn't given. Raises ConfigurationInvalid."""
        if key not in self._raw:
            return default
        try:
            return parse(self._raw[key])
        except ValueError as error:
            raise ConfigurationInvalid(f"{key}: {error}") from error

    def all(self, key: str, parse: Callable[[object], values.Value]) -> tuple[values.Value, ...]:
        """The values of a list."""
        return self.get(key, lambda value: values.each(value, parse), ())

    def named(self, key: str, parse: Callable[[str, object], values.Value]) -> dict[str, values.Value]:
        """The values of an object."""
        return self.get(
            key, lambda value: {name: parse(name, item) for name, item in values.mapping(value).items()}, {}
        )

    def truth(self, key: str, *, default: bool) -> bool:
        """A boolean."""
        return self.get(key, values.boolean, default)


def instance_name(given: Mapping[str, object]) -> str:
    """The name of `--instance`. Raises ConfigurationInvalid."""
    name = str(given.get("instance", DEFAULT_INSTANCE))
    if not _INSTANCE.fullmatch(name):
        raise ConfigurationInvalid(f"instance: {name!r} is not 1 to 32 of a-z, 0-9 and -")
    return name


def instance(read: Directives, name: str) -> Instance:
    """Where this engine keeps its things; names of another instance never meet those of the default."""
    suffix = "" if name == DEFAULT_INSTANCE else f"-{name}"
    return Instance(
        name=name,
        data_root=read.get("data-root", values.path, Path(f"/var/lib/shiplog{suffix}")),
        exec_root=read.get("exec-root", values.path, Path(f"/run/shiplog{suffix}")),
    )


def log(read: Directives) -> LogConfig:
    """Driver and options of containers that don't say. Raises ConfigurationInvalid."""
    driver = read.get("log-driver", lambda value: values.choice(value, log_options.DRIVERS, "log driver"), "json-file")
    options = read.named("log-opts", lambda _, value: str(value))
    try:
        log_options.check(driver, options)
    except EngineError as error:
        raise ConfigurationInvalid(f"log-opts: {error}") from error
    return LogConfig(type=driver, config=options)


def tls(read: Directives) -> TlsFiles | None:
    """The files of mutual TLS: all three, or none without --tlsverify."""
    keys = ("tlscacert", "tlscert", "tlskey")
    if not read.truth("tlsverify", default=False):
        for key in keys:
            if key in read:
                raise ConfigurationInvalid(f"{key}: it acts with --tlsverify only")
        return None
    for key in keys:
        if key not in read:
            raise ConfigurationInvalid(f"tlsverify: --{key} is missing")
    authority, certificate, private_key = (read.get(key, values.readable, Path()) for key in keys)
    return TlsFiles(authority=authority, certificate=certificate, key=private_key)


def with_port(host: str, *, encrypted: bool) -> str:
    """A TCP address without a port gets Docker's own."""
    if not host.startswith("tcp://") or host.rpartition("]")[2].count(":") > (0 if "]" in host else 1):
        return host
    return f"{host}:{values.TLS_PORT if encrypted else values.PLAIN_PORT}"


def default_group() -> str:
    """`docker` where the host has that group: its members expect to use the API."""
    try:
        return grp.getgrnam("docker").gr_name
    except KeyError:
        return "root"


def network(read: Directives) -> NetworkSettings:
    """Everything about container networks."""
    return NetworkSettings(
        bip=read.get("bip", values.interface, ""),
        address_pools=read.all("default-address-pools", values.address_pool) or DEFAULT_POOLS,
        mtu=read.get("mtu", values.mtu, 1500),
        iptables=read.truth("iptables", default=True),
        userland_proxy=read.truth("userland-proxy", default=True),
        ip_masquerade=read.truth("ip-masq", default=True),
        inter_container=read.truth("icc", default=True),
        dns=read.all("dns", values.address),
        dns_search=read.all("dns-search", values.text),
        dns_options=read.all("dns-opts", values.text),
        host_gateway=read.get("host-gateway-ip", values.address, ""),
    )


def registries(read: Directives, configuration: Path) -> RegistrySettings:
    """How registries are reached; certificates lie beside the configuration file or where dockerd has them."""
    return RegistrySettings(
        insecure=read.all("insecure-registries", values.insecure_registry),
        mirrors=read.all("registry-mirrors", values.mirror),
        certificates=(configuration / "certs.d", Path("/etc/docker/certs.d")),
        proxies=_proxies(read, os.environ),
        trust_policy=read.get("trust-policy", values.trust_policy, None),
        downloads=read.get("max-concurrent-downloads", values.at_least_one, RegistrySettings().downloads),
        uploads=read.get("max-concurrent-uploads", values.at_least_one, RegistrySettings().uploads),
        attempts=read.get("max-download-attempts", values.at_least_one, RegistrySettings().attempts),
    )


def _proxies(read: Directives, environment: Mapping[str, str]) -> Proxies:
    """Directives go before the daemon's environment, whose names may be in either case."""
    given = read.named("proxies", lambda _, value: values.text(value))
    unknown = given.keys() - _PROXIES
    if unknown:
        known = ", ".join(sorted(_PROXIES))
        raise ConfigurationInvalid(f"proxies: {', '.join(sorted(unknown))} is none of {known}")

    def value(key: str) -> str:
        name = key.upper().replace("-", "_")
        default = given.get(key) or environment.get(name) or environment.get(name.lower(), "")
        return read.get(key, values.text, default)

    return Proxies(http=value("http-proxy"), https=value("https-proxy"), exceptions=value("no-proxy"))


def default_runtime(read: Directives, runtimes: Mapping[str, str]) -> str:
    """A runtime that exists."""
    name = read.get("default-runtime", values.text, "runc")
    if name not in ("runc", *runtimes):
        raise ConfigurationInvalid(f"default-runtime: specified default runtime '{name}' does not exist")
    return name


def cgroup_driver(read: Directives) -> str:
    """The one execution option there is."""
    driver = "cgroupfs"
    for option in read.all("exec-opts", values.text):
        name, _, value = option.partition("=")
        if name != "native.cgroupdriver":
            raise ConfigurationInvalid(f"exec-opts: invalid option {name}")
        if value not in values.CGROUP_DRIVERS:
            raise ConfigurationInvalid(f'exec-opts: native.cgroupdriver option "{value}" is invalid')
        driver = value
    return driver


def cgroup_parent(read: Directives, instance: Instance, driver: str) -> str:
    """A path for cgroupfs; a slice, or "" for the runtime's own choice, for systemd."""
    parent = read.get("cgroup-parent", values.text, "")
    if driver == "systemd" and parent and not parent.endswith(".slice"):
        raise ConfigurationInvalid("cgroup-parent: for the systemd cgroup driver it has to be a slice (`xxx.slice`)")
    return parent or ("" if driver == "systemd" else instance.cgroup_parent)
