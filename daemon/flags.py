"""Every directive that the daemon takes, by its flag and by its key in the configuration file: one table.

Names are dockerd's (docs.docker.com/reference/cli/dockerd) wherever it has the directive.
"""

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NoReturn

import msgspec

from events.errors import InvalidParameter


class ConfigurationInvalid(InvalidParameter):
    """The daemon can't be started, or reloaded, like this; the text says which directive is wrong and why."""


class Directive(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table. `shape` turns what was given as flags (in order) into the value as the file has it."""

    key: str  # in the file
    flag: str = ""  # without the dashes; the key unless said otherwise
    short: str = ""
    shape: Callable[[Sequence[str]], object]
    is_boolean: bool = False
    only_flag: bool = False
    reloadable: bool = False
    help: str

    @property
    def option(self) -> str:
        """The flag's name."""
        return self.flag or self.key


def last(given: Sequence[str]) -> str:
    """A flag that is given again replaces what was before."""
    return given[-1]


def truth(given: Sequence[str]) -> bool:
    """As Go reads booleans."""
    words = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    word = given[-1].lower()
    if word not in words:
        raise ValueError(f'invalid boolean "{given[-1]}"')
    return words[word]


def whole(given: Sequence[str]) -> int:
    """A whole number."""
    try:
        return int(given[-1])
    except ValueError:
        raise ValueError(f'"{given[-1]}" is not a whole number') from None


def gathered(given: Sequence[str]) -> list[str]:
    """A flag that may be repeated."""
    return list(given)


def pairs(given: Sequence[str]) -> dict[str, str]:
    """Repeated key=value."""
    return dict(_pair(item) for item in given)


def pools(given: Sequence[str]) -> list[dict[str, object]]:
    """Repeated base=CIDR,size=BITS."""
    found: list[dict[str, object]] = []
    for item in given:
        fields: dict[str, object] = dict(_pair(part) for part in item.split(","))
        if "size" in fields:
            fields["size"] = whole([str(fields["size"])])
        found.append(fields)
    return found


def limits(given: Sequence[str]) -> dict[str, dict[str, object]]:
    """Repeated name=soft[:hard]."""
    found: dict[str, dict[str, object]] = {}
    for item in given:
        name, value = _pair(item)
        soft, _, hard = value.partition(":")
        found[name] = {"Name": name, "Soft": whole([soft]), "Hard": whole([hard or soft])}
    return found


def programs(given: Sequence[str]) -> dict[str, dict[str, object]]:
    """Repeated name=path."""
    return {name: {"path": path} for name, path in map(_pair, given)}


def _pair(item: str) -> tuple[str, str]:
    name, separator, value = item.partition("=")
    if not separator or not name:
        raise ValueError(f"{item!r} is not of the form name=value")
    return name.strip(), value.strip()


def _row(key: str, shape: Callable[[Sequence[str]], object], help: str, **more: Any) -> Directive:  # noqa: A002, ANN401
    return Directive(key=key, shape=shape, is_boolean=shape is truth, help=help, **more)


DIRECTIVES: tuple[Directive, ...] = (
    _row("config-file", last, "JSON file with more directives", only_flag=True),
    _row("validate", truth, "check the configuration and exit", only_flag=True),
    _row(
        "repair",
        truth,
        "keep what verifies of a damaged log, tell what is lost, and exit",
        only_flag=True,
    ),
    _row("instance", last, "name of this engine among several on one host", only_flag=True),
    _row("hosts", gathered, "where to serve the API: unix://[PATH], tcp://HOST:PORT, fd://", flag="host", short="H"),
    _row("group", last, "group (name or number) that may use the unix socket", short="G"),
    _row("data-root", last, "directory of everything that persists"),
    _row("exec-root", last, "directory of everything that a reboot clears"),
    _row("pidfile", last, "file for the daemon's process id", short="p"),
    _row("tlsverify", truth, "serve TCP with TLS and verify the client's certificate"),
    _row("tlscacert", last, "certificates that sign clients"),
    _row("tlscert", last, "the daemon's certificate"),
    _row("tlskey", last, "the daemon's private key"),
    _row("allow-unauthenticated-tcp", truth, "serve TCP to anybody who can connect: they become root on this host"),
    _row("debug", truth, "log more", short="D", reloadable=True),
    _row("log-level", last, "debug, info, warn, error or fatal", short="l", reloadable=True),
    _row("labels", gathered, "key=value shown by `docker info`", flag="label", reloadable=True),
    _row("live-restore", truth, "leave containers running when the daemon ends", reloadable=True),
    _row("shutdown-timeout", whole, "seconds for containers to stop when they don't stay", reloadable=True),
    _row("storage-driver", last, "where layers are kept; found out when it isn't given", short="s"),
    _row("storage-opts", gathered, "name=value for the storage driver", flag="storage-opt"),
    _row("bip", last, "address of the default bridge with its prefix length"),
    _row("default-address-pools", pools, "base=CIDR,size=BITS: where subnets come from", flag="default-address-pool"),
    _row("mtu", whole, "bytes of a packet on container networks"),
    _row("dns", gathered, "name server for containers"),
    _row("dns-opts", gathered, "resolver option for containers", flag="dns-opt"),
    _row("dns-search", gathered, "search domain for containers"),
    _row("host-gateway-ip", last, "address that `host-gateway` stands for"),
    _row("icc", truth, "let containers on the default bridge talk to each other"),
    _row("ip-masq", truth, "hide containers behind the host's address"),
    _row("iptables", truth, "make firewall rules"),
    _row("userland-proxy", truth, "forward published ports in user space where the firewall can't"),
    _row(
        "insecure-registries",
        gathered,
        "registry without TLS, or one with an unknown certificate",
        flag="insecure-registry",
        reloadable=True,
    ),
    _row("registry-mirrors", gathered, "mirror of Docker Hub", flag="registry-mirror", reloadable=True),
    _row("trust-policy", last, "file that says which images may be pulled (containers-policy.json)", reloadable=True),
    _row("max-concurrent-downloads", whole, "layers fetched at once", reloadable=True),
    _row("max-concurrent-uploads", whole, "layers sent at once", reloadable=True),
    _row("max-download-attempts", whole, "tries of a download that makes no progress", reloadable=True),
    _row("http-proxy", last, "proxy for registries without TLS, only as a flag", only_flag=True),
    _row("https-proxy", last, "proxy for registries with TLS, only as a flag", only_flag=True),
    _row("no-proxy", last, "hosts that are reached without a proxy, only as a flag", only_flag=True),
    _row("proxies", pairs, "name=URL for http-proxy, https-proxy or no-proxy", flag="proxy"),
    _row("runtimes", programs, "name=path of another OCI runtime", flag="add-runtime"),
    _row("default-runtime", last, "OCI runtime of containers that don't say"),
    _row("exec-opts", gathered, "native.cgroupdriver=cgroupfs or systemd", flag="exec-opt"),
    _row("cgroup-parent", last, "parent cgroup of containers"),
    _row("cpu-rt-period", whole, "microseconds that cpu-rt-runtime is a part of"),
    _row("cpu-rt-runtime", whole, "microseconds of the real-time scheduler for all containers together"),
    _row("default-ipc-mode", last, "private or shareable, for containers that don't say"),
    _row("default-cgroupns-mode", last, "private or host, for containers that don't say"),
    _row("seccomp-profile", last, "profile of containers that don't say: a JSON file, builtin or unconfined"),
    _row("no-new-privileges", truth, "deny new privileges to containers that don't say"),
    _row("init-path", last, "program that --init runs"),
    _row("init", truth, "run an init in containers that don't say"),
    _row("default-ulimits", limits, "name=soft[:hard] for containers", flag="default-ulimit"),
    _row("default-shm-size", last, "size of /dev/shm of containers that don't say"),
    _row("log-driver", last, "where the output of containers goes"),
    _row("log-opts", pairs, "name=value for the log driver", flag="log-opt"),
    _row("nats-url", last, "NATS server or cluster (addresses separated by commas) that the log is relayed to"),
)
BY_KEY: dict[str, Directive] = {directive.key: directive for directive in DIRECTIVES}


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:  # type: ignore[explicit-override]  # typing has no override in 3.11
        raise ConfigurationInvalid(message)


def parser() -> argparse.ArgumentParser:
    """The command line of shiplogd; every flag gathers texts, which its directive's `shape` reads."""
    made = _Parser(
        prog="shiplogd", description="A container engine that speaks the Docker Engine API.", allow_abbrev=False
    )
    made.add_argument("-v", "--version", action="version", version=f"shiplogd {version('shiplog')}")
    for directive in DIRECTIVES:
        names = [f"--{directive.option}"] + ([f"-{directive.short}"] if directive.short else [])
        metavar = directive.option.rpartition("-")[2].upper()
        made.add_argument(*names, dest=directive.key, action="append", metavar=metavar, help=directive.help)
    return made


def parse(arguments: Sequence[str]) -> dict[str, object]:
    """What the command line says, by key, in the shapes of the file. Raises ConfigurationInvalid."""
    found, unknown = parser().parse_known_args(_spelled_out(arguments))
    if unknown:
        kind = "unknown flag" if unknown[0].startswith("-") else "unexpected argument"
        raise ConfigurationInvalid(f"{kind}: {unknown[0]}")
    return {key: _shaped(BY_KEY[key], given) for key, given in vars(found).items() if given is not None}


def _shaped(directive: Directive, given: Sequence[str]) -> object:
    try:
        return directive.shape(given)
    except ValueError as error:
        raise ConfigurationInvalid(f"invalid argument for --{directive.option}: {error}") from error


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """`--debug` as `--debug=true`: a boolean's value only ever follows an equals sign."""
    booleans = {f"--{row.option}" for row in DIRECTIVES if row.is_boolean}
    booleans |= {f"-{row.short}" for row in DIRECTIVES if row.is_boolean and row.short}
    long = {f"-{row.short}": f"--{row.option}" for row in DIRECTIVES if row.is_boolean and row.short}
    return [f"{long.get(item, item)}=true" if item in booleans else item for item in arguments]
