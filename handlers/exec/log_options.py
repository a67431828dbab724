"""What `--log-driver` and `--log-opt` ask for, checked and read in dockerd's words. Pure.

Every container's output goes to its durable file; a driver says how much of that is kept, and who else is told.
Options: https://docs.docker.com/engine/logging/configure/.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

import msgspec
import re2

from events.errors import InvalidParameter, Unsupported

LATER = frozenset({"gelf", "fluentd", "awslogs", "splunk", "gcplogs"})
MIB = 2**20
_EXTRA = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_CACHE = frozenset({"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_COMMON = frozenset({"mode", "max-buffer-size"})
_OPTIONS: Mapping[str, frozenset[str]] = {
    "json-file": _EXTRA | {"max-size", "max-file", "compress"},
    "local": frozenset({"max-size", "max-file", "compress"}),
    "journald": _EXTRA,
    "syslog": _EXTRA
    | {
        "syslog-address",
        "syslog-facility",
        "syslog-format",
        "syslog-tls-ca-cert",
        "syslog-tls-cert",
        "syslog-tls-key",
        "syslog-tls-skip-verify",
    },
}
DEFAULT_DRIVER = "json-file"
DRIVERS = (DEFAULT_DRIVER, "local", "none", "journald", "syslog")
_FORWARDED = frozenset({"journald", "syslog"})
_FACILITIES = {
    name: number
    for number, name in enumerate(
        (
            *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
            *("", "", "", ""),
            *(f"local{number}" for number in range(8)),
        )
    )
    if name
}
_DEFAULT_FACILITY = 3
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)
_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept: a new file after `max_bytes`, `files` of them with the present one."""

    max_bytes: int
    files: int
    compress: bool = False


class SyslogTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how. `scheme` "" is the host's own daemon; otherwise unix, unixgram, udp, tcp or tcp+tls."""

    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    facility: int = _DEFAULT_FACILITY
    format: str = ""
    ca_certificate: str = ""
    certificate: str = ""
    key: str = ""
    skips_verification: bool = False


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The container whose output it is."""

    container_id: str
    name: str
    image_id: str
    image_name: str
    labels: Mapping[str, str]
    env: tuple[str, ...]


class LogPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a container's output. `buffer_bytes` 0: nothing is dropped while a target doesn't take it."""

    driver: str
    rotation: Rotation | None = None
    is_readable: bool = True
    buffer_bytes: int = 0
    tag: str = ""
    attributes: Mapping[str, str] = {}
    syslog: SyslogTarget | None = None

    @property
    def is_forwarded(self) -> bool:
        """Whether somebody else is told."""
        return self.driver in _FORWARDED


class LoggingFailed(InvalidParameter):
    """A value that a driver can't work with."""

    def __init__(self, why: str) -> None:
        super().__init__(f"failed to initialize logging driver: {why}")


def check(driver: str, options: Mapping[str, str]) -> None:
    """Refuse what no container can have. Raises InvalidParameter, Unsupported."""
    plan(driver, options, Subject(container_id="", name="", image_id="", image_name="", labels={}, env=()))


def plan(driver: str, options: Mapping[str, str], subject: Subject) -> LogPlan:
    """The options of a container as they act. Raises InvalidParameter, Unsupported."""
    if driver == DEFAULT_DRIVER and not options:
        return LogPlan(driver=driver)
    if driver in LATER:
        raise Unsupported(f"logging driver {driver} is not supported yet: use one of {', '.join(DRIVERS)}")
    if driver not in DRIVERS:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    if driver == "none":
        # what attached clients read passes through the file too
        return LogPlan(driver=driver, is_readable=False, rotation=Rotation(max_bytes=16 * MIB, files=1))
    buffer_bytes = _buffer_bytes(options)
    _check_names(driver, options)
    common = LogPlan(driver=driver, buffer_bytes=buffer_bytes)
    if driver in _FORWARDED:
        return _forwarded(common, options, subject)
    template = options.get("tag", "")
    attributes = _attributes(options, subject) | ({"tag": render(template, subject)} if template else {})
    return msgspec.structs.replace(common, rotation=_rotation(driver, options), attributes=attributes)


def _forwarded(common: LogPlan, options: Mapping[str, str], subject: Subject) -> LogPlan:
    """Docker keeps a copy of what it can't read back, and so do we."""
    readable = not _boolean(options, "cache-disabled", default=False)
    cache = Rotation(
        max_bytes=_decimal_bytes(options.get("cache-max-size", "20m"), "cache-max-size"),
        files=_count(options, "cache-max-file", 5),
        compress=_boolean(options, "cache-compress", default=True),
    )
    return msgspec.structs.replace(
        common,
        rotation=cache,
        is_readable=readable,
        tag=render(options.get("tag") or "{{.ID}}", subject),
        attributes=_attributes(options, subject),
        syslog=_syslog(options) if common.driver == "syslog" else None,
    )


def _check_names(driver: str, options: Mapping[str, str]) -> None:
    known = _OPTIONS[driver] | _COMMON | (_CACHE if driver in _FORWARDED else frozenset())
    for name in options:
        if name not in known:
            raise InvalidParameter(f"unknown log opt '{name}' for {driver} log driver")


def _buffer_bytes(options: Mapping[str, str]) -> int:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    size = options.get("max-buffer-size")
    if size is not None and mode != "non-blocking":
        raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    if mode != "non-blocking":
        return 0
    try:
        return _size_bytes(size or "1m", 1024) or MIB
    except ValueError as error:
        raise InvalidParameter(f"error parsing option max-buffer-size: {error}") from error


def _rotation(driver: str, options: Mapping[str, str]) -> Rotation | None:
    default_size, default_files, compresses = ("20m", 5, True) if driver == "local" else ("-1", 1, False)
    size = options.get("max-size", default_size)
    files = _count(options, "max-file", default_files)
    compress = _boolean(options, "compress", default=compresses and files > 1)
    if size == "-1":
        if compress:
            raise LoggingFailed("compress cannot be true when max-file is less than 2 or max-size is not set")
        return None
    if compress and files < 2:
        raise LoggingFailed("compress cannot be true when max-file is less than 2 or max-size is not set")
    return Rotation(max_bytes=_decimal_bytes(size, "max-size"), files=files, compress=compress)


def _decimal_bytes(text: str, name: str) -> int:
    try:
        size = _size_bytes(text, 1000)
    except ValueError as error:
        raise LoggingFailed(str(error)) from error
    if size <= 0:
        raise LoggingFailed(f"{name} must be a positive number")
    return size


def _size_bytes(text: str, unit: int) -> int:
    """Docker's sizes: `10m`, `1.5 GB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * unit ** _POWERS[match[2].lower()])


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise LoggingFailed(f'strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 1:
        raise LoggingFailed(f"{name} cannot be less than 1")
    return int(text)


def _boolean(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = options.get(name, "")
    if not text:
        return default
    if text not in _TRUE | _FALSE:
        raise LoggingFailed(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in _TRUE


def _syslog(options: Mapping[str, str]) -> SyslogTarget:
    form = options.get("syslog-format", "")
    if form not in _FORMATS:
        raise InvalidParameter("Invalid syslog format")
    target = SyslogTarget(
        facility=_facility(options.get("syslog-facility", "")),
        format=form,
        ca_certificate=options.get("syslog-tls-ca-cert", ""),
        certificate=options.get("syslog-tls-cert", ""),
        key=options.get("syslog-tls-key", ""),
        skips_verification="syslog-tls-skip-verify" in options,
    )
    return _addressed(target, options.get("syslog-address", ""))


def _addressed(target: SyslogTarget, address: str) -> SyslogTarget:
    if not address:
        return target
    try:
        parts = urlsplit(address)
        port = parts.port or 514
    except ValueError as error:
        raise InvalidParameter(f"parse {address!r}: {error}") from error
    if parts.scheme in ("unix", "unixgram"):
        if not Path(parts.path).is_absolute():
            raise InvalidParameter(f"stat {parts.path}: no such file or directory")
        return msgspec.structs.replace(target, scheme=parts.scheme, path=parts.path)
    if parts.scheme not in ("udp", "tcp", "tcp+tls"):
        raise InvalidParameter(f"unsupported scheme: '{parts.scheme}'")
    return msgspec.structs.replace(target, scheme=parts.scheme, host=parts.hostname or "localhost", port=port)


def _facility(text: str) -> int:
    if not text:
        return _DEFAULT_FACILITY
    if text in _FACILITIES:
        return _FACILITIES[text]
    if text.isdecimal() and len(text) < 4 and int(text) <= 23:
        return int(text)
    raise InvalidParameter("invalid syslog facility")


def _attributes(options: Mapping[str, str], subject: Subject) -> dict[str, str]:
    """Of the container's labels and environment, those that were asked for by name or pattern."""
    environment = dict(entry.partition("=")[::2] for entry in subject.env if "=" in entry)
    return {
        **_chosen(options, "labels", subject.labels),
        **_chosen(options, "env", environment),
    }


def _chosen(options: Mapping[str, str], name: str, values: Mapping[str, str]) -> dict[str, str]:
    names = frozenset(filter(None, options.get(name, "").split(",")))
    pattern = options.get(f"{name}-regex", "")
    matches = _matcher(pattern) if pattern else lambda _: False
    return {key: value for key, value in values.items() if key in names or matches(key)}


def _matcher(pattern: str) -> Callable[[str], bool]:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise LoggingFailed(f"error parsing regexp: {error}") from error
    return lambda text: compiled.search(text) is not None


def render(template: str, subject: Subject) -> str:
    """A tag's template, with the fields that Docker's documentation names."""
    fields = {
        "ID": subject.container_id[:12],
        "FullID": subject.container_id,
        "Name": subject.name,
        "ImageID": subject.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": subject.image_id,
        "ImageName": subject.image_name,
        "DaemonName": "docker",
    }
    text = _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)
    if "{{" in text:
        names = ", ".join(f"{{{{.{name}}}}}" for name in fields)
        raise LoggingFailed(f"the template of a tag takes {names} and nothing else: {template}")
    return text


def details(attributes: Mapping[str, str]) -> str:
    """What `docker logs --details` shows before a line."""
    return ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(attributes.items()))
