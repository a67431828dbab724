"""Dockerfile instructions that change a configuration (`docker import --change`, `docker commit --change`).

Written here because the one library with Docker's own grammar brings a Go runtime into the process.
The instructions: https://docs.docker.com/reference/dockerfile/.
"""

import posixpath
import re
import signal
from collections.abc import Callable, Iterable, Iterator

import msgspec

from events.messages.image import RunConfig
from handlers.images.errors import InvalidChange
from handlers.images.healthcheck import parse_healthcheck
from handlers.images.words import expand, split_words

_CONTINUATION = re.compile(r"\\[ \t]*\n")
_PORT = re.compile(r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>[A-Za-z]+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_DEFAULT_SHELL = ("/bin/sh", "-c")
_HIGHEST_SIGNAL = 64
replace = msgspec.structs.replace


def apply_changes(config: RunConfig, changes: Iterable[str]) -> RunConfig:
    """The configuration after the instructions, in their order. Raises InvalidChange."""
    for line in _lines(changes):
        instruction, _, text = line.partition(" ")
        change = _INSTRUCTIONS.get(instruction.upper())
        if change is None:
            raise InvalidChange(f"{instruction.lower()} is not a valid change command")
        if not text.strip():
            raise InvalidChange(f"{instruction.upper()} requires at least one argument")
        config = change(config, text.strip())
    return config


def json_words(text: str) -> tuple[str, ...] | None:
    """The JSON form of an instruction, None when it isn't one (and so is shell form)."""
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError:
        return None


def _lines(changes: Iterable[str]) -> Iterator[str]:
    for change in changes:
        for line in _CONTINUATION.sub("", change).splitlines():
            words = line.strip()
            if words and not words.startswith("#"):
                yield re.sub(r"\s", " ", words, count=1)


def _environment(config: RunConfig) -> dict[str, str]:
    return dict(variable.partition("=")[::2] for variable in config.env)


def _command(config: RunConfig, text: str) -> tuple[str, ...]:
    words = json_words(text)
    return words if words is not None else (*(config.shell or _DEFAULT_SHELL), text)


def _cmd(config: RunConfig, text: str) -> RunConfig:
    return replace(config, cmd=_command(config, text))


def _entrypoint(config: RunConfig, text: str) -> RunConfig:
    return replace(config, entrypoint=_command(config, text), cmd=())


def _shell(config: RunConfig, text: str) -> RunConfig:
    words = json_words(text)
    if not words:
        raise InvalidChange("SHELL requires the arguments to be in JSON form")
    return replace(config, shell=words)


def _pairs(config: RunConfig, text: str, instruction: str) -> dict[str, str]:
    """`A=b C="d e"`, or the old form `A b c`."""
    environment = _environment(config)
    words = list(split_words(text))
    if "=" not in words[0]:
        name, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidChange(f"{instruction} must have two arguments")
        return {expand(name, environment): expand(value.strip(), environment)}
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidChange(f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        if not expand(name, environment):
            raise InvalidChange(f"{instruction} names can not be blank")
        pairs[expand(name, environment)] = expand(value, environment)
    return pairs


def _env(config: RunConfig, text: str) -> RunConfig:
    environment = _environment(config) | _pairs(config, text, "ENV")
    return replace(config, env=tuple(f"{name}={value}" for name, value in environment.items()))


def _label(config: RunConfig, text: str) -> RunConfig:
    return replace(config, labels=config.labels | _pairs(config, text, "LABEL"))


def _expose(config: RunConfig, text: str) -> RunConfig:
    ports = {port for word in split_words(text) for port in _ports(expand(word, _environment(config)))}
    return replace(config, exposed_ports=config.exposed_ports | {port: {} for port in sorted(ports)})


def _ports(text: str) -> Iterator[str]:
    match = _PORT.fullmatch(text)
    protocol = (match["protocol"] or "tcp").lower() if match else ""
    if match is None or protocol not in _PROTOCOLS:
        raise InvalidChange(f"invalid containerPort: {text}")
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if not 0 < first <= last <= 65535:
        raise InvalidChange(f"invalid containerPort: {text}")
    yield from (f"{port}/{protocol}" for port in range(first, last + 1))


def _volume(config: RunConfig, text: str) -> RunConfig:
    environment = _environment(config)
    words = json_words(text)
    paths = words if words is not None else tuple(split_words(text))
    expanded = [expand(path, environment).strip() for path in paths]
    if not all(expanded):
        raise InvalidChange("VOLUME specified can not be an empty string")
    return replace(config, volumes=config.volumes | {path: {} for path in expanded})


def _user(config: RunConfig, text: str) -> RunConfig:
    return replace(config, user=expand(text, _environment(config)))


def _workdir(config: RunConfig, text: str) -> RunConfig:
    path = posixpath.join("/", config.working_dir, expand(text, _environment(config)))
    return replace(config, working_dir="/" + posixpath.normpath(path).lstrip("/"))


def _stopsignal(config: RunConfig, text: str) -> RunConfig:
    name = expand(text, _environment(config))
    known = name.upper().removeprefix("SIG") in _SIGNALS or (name.isdecimal() and 0 < int(name) <= _HIGHEST_SIGNAL)
    if not known:
        raise InvalidChange(f"invalid signal: {name}")
    return replace(config, stop_signal=name)


def _onbuild(config: RunConfig, text: str) -> RunConfig:
    trigger = text.partition(" ")[0].upper()
    if trigger == "ONBUILD":
        raise InvalidChange("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidChange(f"{trigger} isn't allowed as an ONBUILD trigger")
    return replace(config, on_build=(*config.on_build, text))


def _healthcheck(config: RunConfig, text: str) -> RunConfig:
    return replace(config, healthcheck=parse_healthcheck(text))


_SIGNALS = frozenset(
    [one.name.removeprefix("SIG") for one in signal.Signals]
    + [f"RTMIN+{number}" for number in range(1, 16)]
    + [f"RTMAX-{number}" for number in range(1, 15)]
)
_INSTRUCTIONS: dict[str, Callable[[RunConfig, str], RunConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
