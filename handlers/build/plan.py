"""A Dockerfile's instructions checked and put into stages, before anything is done. Pure.

What is refused here, dockerd refuses before its first line of progress (moby 20.10; buildkit 0.8,
frontend/dockerfile/instructions).
"""

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from events.errors import InvalidParameter
from handlers.dockerfile.changes import Reading, json_words, written_pairs
from handlers.dockerfile.errors import InvalidChange, InvalidDockerfile
from handlers.dockerfile.grammar import Dockerfile, Instruction
from handlers.dockerfile.healthcheck import parse_healthcheck

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_NO_TRIGGERS = ("MAINTAINER", "FROM")


class UnknownTarget(InvalidParameter):
    """The stage that is wanted isn't there."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(f"failed to reach build target {target} in Dockerfile")


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A label that the client gives, taken as it is."""

    name: str
    value: str

    @property
    def original(self) -> str:
        """As it is shown."""
        return f"LABEL {self.name}={self.value}"


Step = Instruction | Label


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What begins with a FROM; `base` and `platform` still with their variables."""

    base: str
    name: str = ""
    platform: str = ""
    original: str
    steps: tuple[Step, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to be done. `arguments` are those before the first stage."""

    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    escape: str

    @property
    def length(self) -> int:
        """The number of steps, as clients count them."""
        return len(self.arguments) + sum(1 + len(stage.steps) for stage in self.stages)


def plan(dockerfile: Dockerfile, target: str, labels: Mapping[str, str]) -> Plan:
    """The stages up to the one that is wanted. Raises InvalidDockerfile, UnknownTarget."""
    reading = Reading(escape=dockerfile.escape)
    for instruction in dockerfile.instructions:
        check(instruction, reading)
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for instruction in dockerfile.instructions:
        if instruction.name == "FROM":
            stages.append(_stage(instruction))
        elif stages:
            stages[-1] = msgspec.structs.replace(stages[-1], steps=(*stages[-1].steps, instruction))
        elif instruction.name == "ARG":
            arguments.append(instruction)
        else:
            raise InvalidParameter("no build stage in current context")
    if not stages:
        raise InvalidParameter("no build stage in current context")
    if target:
        stages = stages[: _number_of(stages, target) + 1]
    given = tuple(Label(name=name, value=labels[name]) for name in sorted(labels))
    stages[-1] = msgspec.structs.replace(stages[-1], steps=stages[-1].steps + given)
    return Plan(arguments=tuple(arguments), stages=tuple(stages), escape=dockerfile.escape)


def check(instruction: Instruction, reading: Reading) -> None:
    """Refuse what no state of a build could make sense of. Raises InvalidDockerfile."""
    rule = _RULES.get(instruction.name)
    if rule is None:
        raise InvalidDockerfile(f"unknown instruction: {instruction.name}", instruction.line)
    try:
        _check_flags(instruction, rule.flags)
        rule.check(instruction, reading)
    except InvalidChange as error:
        raise InvalidDockerfile(str(error), instruction.line) from error


def flags(instruction: Instruction) -> dict[str, str]:
    """Flags by name."""
    return dict(flag.removeprefix("--").partition("=")[::2] for flag in instruction.flags)


def copy_words(text: str) -> list[str]:
    """Sources and destination of COPY and ADD."""
    words = json_words(text)
    return text.split() if words is None else list(words)


def argument_pairs(text: str, reading: Reading) -> Iterator[tuple[str, str | None]]:
    """Names and defaults of ARG, as written."""
    for word in reading.words(text):
        name, equals, value = word.partition("=")
        yield name, value if equals else None


def _number_of(stages: list[Stage], target: str) -> int:
    for number, stage in enumerate(stages):
        if stage.name == target.lower():
            return number
    raise UnknownTarget(target)


def _stage(instruction: Instruction) -> Stage:
    words = instruction.text.split()
    name = words[2].lower() if len(words) > 1 else ""
    return Stage(
        base=words[0],
        name=name,
        platform=flags(instruction).get("platform", ""),
        original=instruction.original,
    )


# ---- what each instruction needs


class _Rule(msgspec.Struct, frozen=True):
    check: Callable[[Instruction, Reading], None]
    flags: tuple[str, ...] = ()


def _check_flags(instruction: Instruction, known: tuple[str, ...]) -> None:
    seen = set()
    for flag in instruction.flags:
        name, equals, _ = flag.removeprefix("--").partition("=")
        if name not in known:
            raise InvalidChange(f"Unknown flag: {name}")
        if not equals:
            raise InvalidChange(f"Missing a value on flag: {name}")
        if name in seen and name != "mount":
            raise InvalidChange(f"Duplicate flag specified: {name}")
        seen.add(name)


def _anything(instruction: Instruction, reading: Reading) -> None:
    pass


def _one(instruction: Instruction, reading: Reading) -> None:
    if not instruction.text:
        raise InvalidChange(f"{instruction.name} requires exactly one argument")


def _some(instruction: Instruction, reading: Reading) -> None:
    if not instruction.text:
        raise InvalidChange(f"{instruction.name} requires at least one argument")


def _from(instruction: Instruction, reading: Reading) -> None:
    words = instruction.text.split()
    if len(words) != 1 and not (len(words) == 3 and words[1].upper() == "AS"):
        raise InvalidChange("FROM requires either one or three arguments")
    if len(words) == 3 and not _STAGE_NAME.fullmatch(words[2].lower()):
        name = words[2].lower()
        raise InvalidChange(
            f'invalid name for build stage: "{name}", name can\'t start with a number or contain symbols'
        )


def _pairs(instruction: Instruction, reading: Reading) -> None:
    _some(instruction, reading)
    try:
        found = written_pairs(instruction.text, instruction.name, reading)
    except InvalidChange as error:
        raise InvalidDockerfile(str(error)) from error
    if not all(name for name, _ in found):
        raise InvalidChange(f"{instruction.name} names can not be blank")


def _copy(instruction: Instruction, reading: Reading) -> None:
    if len(copy_words(instruction.text)) < 2:
        raise InvalidChange(
            f"{instruction.name} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )


def _argument(instruction: Instruction, reading: Reading) -> None:
    _some(instruction, reading)
    if not all(name for name, _ in argument_pairs(instruction.text, reading)):
        raise InvalidChange("ARG names can not be blank")


def _volume(instruction: Instruction, reading: Reading) -> None:
    _some(instruction, reading)
    words = json_words(instruction.text)
    if words is not None and not all(word.strip() for word in words):
        raise InvalidChange("VOLUME specified can not be an empty string")


def _shell(instruction: Instruction, reading: Reading) -> None:
    if json_words(instruction.text) is None:
        raise InvalidChange("SHELL requires the arguments to be in JSON form")
    if not json_words(instruction.text):
        raise InvalidChange("SHELL requires at least one argument")


def _healthcheck(instruction: Instruction, reading: Reading) -> None:
    _some(instruction, reading)
    parse_healthcheck(" ".join((*instruction.flags, instruction.text)))


def _onbuild(instruction: Instruction, reading: Reading) -> None:
    _some(instruction, reading)
    trigger = instruction.text.split(maxsplit=1)[0].upper()
    if trigger == "ONBUILD":
        raise InvalidChange("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in _NO_TRIGGERS:
        raise InvalidChange(f"{trigger} isn't allowed as an ONBUILD trigger")


_RULES: dict[str, _Rule] = {
    "ADD": _Rule(_copy, ("chown", "chmod")),
    "ARG": _Rule(_argument),
    "CMD": _Rule(_anything),
    "COPY": _Rule(_copy, ("chown", "chmod", "from")),
    "ENTRYPOINT": _Rule(_anything),
    "ENV": _Rule(_pairs),
    "EXPOSE": _Rule(_some),
    "FROM": _Rule(_from, ("platform",)),
    "HEALTHCHECK": _Rule(_healthcheck, ("interval", "timeout", "start-period", "start-interval", "retries")),
    "LABEL": _Rule(_pairs),
    "MAINTAINER": _Rule(_one),
    "ONBUILD": _Rule(_onbuild),
    "RUN": _Rule(_anything, ("mount", "network")),
    "SHELL": _Rule(_shell),
    "STOPSIGNAL": _Rule(_one),
    "USER": _Rule(_one),
    "VOLUME": _Rule(_volume),
    "WORKDIR": _Rule(_one),
}
