"""Which engine is meant and how to reach it: flags, environment, contexts of the docker CLI, in that order.

Contexts: https://docs.docker.com/engine/manage-resources/contexts/; what `docker context create` made is understood.
"""

import hashlib
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from clients.api import DEFAULT_HOST, Client

DEFAULT_CONTEXT = "default"
_PORTS = {True: 2376, False: 2375}


class SettingsError(Exception):
    """What was asked for can't be; the text says what to do."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files for mutual TLS; "" for none."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Raises SettingsError for files that can't be used."""
        try:
            made = ssl.create_default_context(cafile=self.authority or None)
            if not self.verify:
                made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
            if self.certificate:
                made.load_cert_chain(self.certificate, self.key or None)
        except OSError as error:
            files = ", ".join(filter(None, (self.authority, self.certificate, self.key)))
            raise SettingsError(f"the TLS files {files} can't be used: {error}") from error
        return made


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """The global flags."""

    host: str = ""
    context: str = ""
    config: str = ""  # directory
    tls: bool = False
    tls_verify: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""
    at: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the engine is."""

    host: str
    context: str  # "" when a host was named
    config: Path  # the docker CLI's directory
    tls: Tls | None = None
    at: str = ""  # a moment of the past that is asked about

    def client(self) -> Client:
        """A client of it. Raises SettingsError."""
        if self.host.partition("://")[0] not in ("unix", "tcp", "ssh"):
            raise SettingsError(f"{self.host} is no engine: use unix://PATH, tcp://HOST[:PORT] or ssh://[USER@]HOST")
        return Client(
            self.host, tls=self.tls.context() if self.tls else None, always={"at": self.at} if self.at else None
        )


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Of a context's file."""

    host: str = ""
    skip_verify: bool = msgspec.field(default=False, name="SkipTLSVerify")


class Context(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A context as the docker CLI stores it."""

    name: str
    metadata: dict[str, object] = {}
    endpoints: dict[str, Endpoint] = {}

    @property
    def description(self) -> str:
        """What its maker wrote of it."""
        return str(self.metadata.get("Description", ""))

    @property
    def endpoint(self) -> Endpoint:
        """Of the engine."""
        return self.endpoints.get("docker", Endpoint())


class CliConfiguration(msgspec.Struct, kw_only=True, rename="camel"):
    """What is read of config.json."""

    current_context: str = ""
    detach_keys: str = ""
    auths: dict[str, dict[str, str]] = {}


def resolve(flags: Flags, environment: Mapping[str, str] = os.environ) -> Settings:
    """Flags, then SHIPLOG_HOST and DOCKER_HOST, then the context, then this host's engine. Raises SettingsError."""
    config = configuration_directory(flags, environment)
    named = (
        flags.host
        if flags.host or flags.context
        else environment.get("SHIPLOG_HOST", "") or environment.get("DOCKER_HOST", "")
    )
    if named:
        if flags.context and flags.host:
            raise SettingsError("--host and --context can't be used together: each names an engine")
        tls = _tls(flags, environment)
        return Settings(host=_with_port(named, secure=tls is not None), context="", config=config, tls=tls, at=flags.at)
    name = flags.context or environment.get("DOCKER_CONTEXT", "") or read_configuration(config).current_context
    if name in ("", DEFAULT_CONTEXT):
        return Settings(host=DEFAULT_HOST, context=DEFAULT_CONTEXT, config=config, at=flags.at)
    context = find_context(config, name)
    tls = _context_tls(config, context)
    host = _with_port(context.endpoint.host, secure=tls is not None)
    return Settings(host=host, context=name, config=config, tls=tls, at=flags.at)


def elsewhere(flags: Flags, engine: str) -> Flags:
    """Flags for another engine than theirs, with the same TLS: a host (`tcp://...`) or a context's name."""
    is_host = "://" in engine
    return msgspec.structs.replace(
        flags, host=engine if is_host else "", context="" if is_host else engine or DEFAULT_CONTEXT, at=""
    )


def configuration_directory(flags: Flags, environment: Mapping[str, str]) -> Path:
    """`--config`, DOCKER_CONFIG or ~/.docker."""
    named = flags.config or environment.get("DOCKER_CONFIG", "")
    return Path(named) if named else Path(environment.get("HOME", "/"), ".docker")


def read_configuration(directory: Path) -> CliConfiguration:
    """config.json; absent is empty. Raises SettingsError."""
    path = directory / "config.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=CliConfiguration)
    except FileNotFoundError:
        return CliConfiguration()
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error


def write_current_context(directory: Path, name: str) -> None:
    """Set it in config.json and leave everything else there as it is."""
    path = directory / "config.json"
    try:
        content: dict[str, object] = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except FileNotFoundError:
        content = {}
    content.pop("currentContext", None)
    if name != DEFAULT_CONTEXT:
        content["currentContext"] = name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    staged = directory / ".config.json.new"
    staged.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    staged.chmod(0o600)
    staged.replace(path)


def contexts(directory: Path) -> list[Context]:
    """All that the docker CLI has made, by name."""
    found = [_read_context(path) for path in (directory / "contexts/meta").glob("*/meta.json")]
    return sorted(found, key=lambda context: context.name)


def find_context(directory: Path, name: str) -> Context:
    """Raises SettingsError."""
    path = directory / "contexts/meta" / _digest(name) / "meta.json"
    if not path.exists():
        raise SettingsError(f'context "{name}": context not found: `shiplog context ls` lists those there are')
    return _read_context(path)


def _read_context(path: Path) -> Context:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Context)
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"the context in {path} can't be read: {error}") from error


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _context_tls(directory: Path, context: Context) -> Tls | None:
    files = directory / "contexts/tls" / _digest(context.name) / "docker"
    if not files.is_dir():
        return None
    return Tls(
        authority=_if_there(files / "ca.pem"),
        certificate=_if_there(files / "cert.pem"),
        key=_if_there(files / "key.pem"),
        verify=not context.endpoint.skip_verify,
    )


def _tls(flags: Flags, environment: Mapping[str, str]) -> Tls | None:
    verify = flags.tls_verify or bool(environment.get("DOCKER_TLS_VERIFY"))
    if not verify and not flags.tls:
        return None
    directory = Path(environment.get("DOCKER_CERT_PATH") or configuration_directory(flags, environment))
    return Tls(
        authority=flags.authority or _if_there(directory / "ca.pem"),
        certificate=flags.certificate or _if_there(directory / "cert.pem"),
        key=flags.key or _if_there(directory / "key.pem"),
        verify=verify,
    )


def _if_there(path: Path) -> str:
    return str(path) if path.exists() else ""


def _with_port(host: str, *, secure: bool) -> str:
    """`tcp://HOST` means Docker's usual port."""
    scheme, _, rest = host.partition("://")
    if scheme == "tcp" and ":" not in rest.rpartition("]")[2]:
        return f"{host}:{_PORTS[secure]}"
    return host
