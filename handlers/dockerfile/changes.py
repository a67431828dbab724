"""Instructions that change a configuration: `--change` of `docker import` and `docker commit`, and those of a build.

The instructions: https://docs.docker.com/reference/dockerfile/.
"""

import posixpath
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from events.messages.image import RunConfig
from handlers.dockerfile.errors import InvalidChange
from handlers.dockerfile.healthcheck import parse_healthcheck
from handlers.dockerfile.words import expand, split_words

_CONTINUATION = re.compile(r"\\[ \t]*\n")
_PORT = re.compile(r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>[A-Za-z]+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_DEFAULT_SHELL = ("/bin/sh", "-c")
_HIGHEST_SIGNAL = 64
replace = msgspec.structs.replace


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How the words of an instruction are read."""

    environment: Mapping[str, str] = {}  # what variables stand for
    escape: str = "\\"

    def expand(self, word: str) -> str:
        """A word with what its variables stand for. Raises InvalidChange."""
        try:
            return expand(word, self.environment, self.escape)
        except InvalidChange as error:
            quoted = word.replace("\\", "\\\\").replace('"', '\\"')
            raise InvalidChange(f'failed to process "{quoted}": {error}') from error

    def words(self, text: str) -> list[str]:
        """Words as they are written."""
        return list(split_words(text, self.escape))


def apply_changes(config: RunConfig, changes: Iterable[str]) -> RunConfig:
    """The configuration after the instructions, in their order. Raises InvalidChange."""
    for line in _lines(changes):
        instruction, _, text = line.partition(" ")
        if instruction.upper() not in CHANGES:
            raise InvalidChange(f"{instruction.lower()} is not a valid change command")
        if not text.strip():
            raise InvalidChange(f"{instruction.upper()} requires at least one argument")
        reading = Reading(environment=environment_of(config))
        config = CHANGES[instruction.upper()](config, text.strip(), reading)
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


def environment_of(config: RunConfig) -> dict[str, str]:
    """Its variables by name."""
    return dict(variable.partition("=")[::2] for variable in config.env)


def _command(config: RunConfig, text: str) -> tuple[str, ...]:
    words = json_words(text)
    return words if words is not None else (*(config.shell or _DEFAULT_SHELL), text)


def _cmd(config: RunConfig, text: str, _: Reading) -> RunConfig:
    return replace(config, cmd=_command(config, text))


def _entrypoint(config: RunConfig, text: str, _: Reading) -> RunConfig:
    return replace(config, entrypoint=_command(config, text), cmd=())


def _shell(config: RunConfig, text: str, _: Reading) -> RunConfig:
    words = json_words(text)
    if not words:
        raise InvalidChange("SHELL requires the arguments to be in JSON form")
    return replace(config, shell=words)


def written_pairs(text: str, instruction: str, reading: Reading) -> list[tuple[str, str]]:
    """`A=b C="d e"`, or the old form `A b c`, as written. Raises InvalidChange."""
    words = reading.words(text)
    if "=" not in words[0]:
        name, *rest = text.split(maxsplit=1)
        if not rest:
            raise InvalidChange(f"{instruction} must have two arguments")
        return [(name, rest[0].strip())]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidChange(f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        pairs.append((name, value))
    return pairs


def pairs(text: str, instruction: str, reading: Reading) -> dict[str, str]:
    """The same with what variables stand for. Raises InvalidChange."""
    found = {}
    for name, value in written_pairs(text, instruction, reading):
        if not (expanded := reading.expand(name)):
            raise InvalidChange(f"{instruction} names can not be blank")
        found[expanded] = reading.expand(value)
    return found


def _env(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    environment = environment_of(config) | pairs(text, "ENV", reading)
    return replace(config, env=tuple(f"{name}={value}" for name, value in environment.items()))


def _label(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    return replace(config, labels=config.labels | pairs(text, "LABEL", reading))


def _expose(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    ports = {port for word in reading.words(text) for port in _ports(reading.expand(word))}
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


def volume_paths(text: str, reading: Reading) -> list[str]:
    """What VOLUME names. Raises InvalidChange."""
    words = json_words(text)
    expanded = [reading.expand(path).strip() for path in (reading.words(text) if words is None else words)]
    if not all(expanded):
        raise InvalidChange("VOLUME specified can not be an empty string")
    return expanded


def _volume(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    return replace(config, volumes=config.volumes | {path: {} for path in volume_paths(text, reading)})


def _user(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    return replace(config, user=reading.expand(text))


def _workdir(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    path = posixpath.join("/", config.working_dir, reading.expand(text))
    return replace(config, working_dir="/" + posixpath.normpath(path).lstrip("/"))


def _stopsignal(config: RunConfig, text: str, reading: Reading) -> RunConfig:
    name = reading.expand(text)
    known = name.upper().removeprefix("SIG") in _SIGNALS or (name.isdecimal() and 0 < int(name) <= _HIGHEST_SIGNAL)
    if not known:
        raise InvalidChange(f"invalid signal: {name}")
    return replace(config, stop_signal=name)


def _onbuild(config: RunConfig, text: str, _: Reading) -> RunConfig:
    trigger = text.partition(" ")[0].upper()
    if trigger == "ONBUILD":
        raise InvalidChange("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidChange(f"{trigger} isn't allowed as an ONBUILD trigger")
    return replace(config, on_build=(*config.on_build, text))


def _healthcheck(config: RunConfig, text: str, _: Reading) -> RunConfig:
    return replace(config, healthcheck=parse_healthcheck(text))


_SIGNALS = frozenset(
    [one.name.removeprefix("SIG") for one in signal.Signals]
    + [f"RTMIN+{number}" for number in range(1, 16)]
    + [f"RTMAX-{number}" for number in range(1, 15)]
)
CHANGES: dict[str, Callable[[RunConfig, str, Reading], RunConfig]] = {
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
