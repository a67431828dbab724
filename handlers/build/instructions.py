"""Instructions that change no file: what a configuration becomes, and what the history says. Pure.

The history's words are those of moby 20.10, builder/dockerfile/dispatchers.go; images of others are told from ours by
nothing, and so steps of theirs are found again.
"""

import json
from collections.abc import Callable

import msgspec

from events.messages.image import HealthcheckConfig, RunConfig
from handlers.build.plan import Label, Step
from handlers.dockerfile.changes import CHANGES, Reading, pairs, volume_paths
from handlers.dockerfile.grammar import Instruction

DEFAULT_SHELL = ("/bin/sh", "-c")
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOUR_NS, _MINUTE_NS, _SECOND_NS = 3_600_000_000_000, 60_000_000_000, 1_000_000_000
_SMALL_UNITS = ((1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_RUNES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'", 92: "\\\\"}
replace = msgspec.structs.replace


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of an instruction; `note` is a line for who watches."""

    config: RunConfig
    comment: str
    note: str = ""


def change(config: RunConfig, step: Step, reading: Reading, *, is_cmd_set: bool) -> Change:
    """The configuration after an instruction. `is_cmd_set`: the stage has a CMD of its own, which an ENTRYPOINT
    leaves alone. Raises InvalidChange."""
    if isinstance(step, Label):
        return Change(config=replace(config, labels=config.labels | {step.name: step.value}), comment=step.original)
    if step.name == "MAINTAINER":
        return Change(config=config, comment=f"MAINTAINER {step.text}")
    text = " ".join((*step.flags, step.text)).strip()
    changed = CHANGES[step.name](config, text, reading)
    if step.name == "ENTRYPOINT" and is_cmd_set:
        changed = replace(changed, cmd=config.cmd)
    return Change(config=changed, comment=_COMMENTS[step.name](changed, step, reading), note=_note(config, step))


def shell_of(config: RunConfig) -> tuple[str, ...]:
    """What runs commands that are one string."""
    return config.shell or DEFAULT_SHELL


def nop(config: RunConfig, comment: str) -> tuple[str, ...]:
    """The command that stands for a step in which nothing is run."""
    return (*shell_of(config), "#(nop) ", comment)


def without_triggers(config: RunConfig) -> RunConfig:
    """The configuration with which a stage begins."""
    names = {variable.partition("=")[0] for variable in config.env}
    env = config.env if "PATH" in names else (*config.env, DEFAULT_PATH)
    return replace(config, on_build=(), env=env)


def _note(config: RunConfig, step: Instruction) -> str:
    old = config.healthcheck
    if step.name != "HEALTHCHECK" or old is None or not old.test or old.test[0] == "NONE":
        return ""
    return f"Note: overriding previous HEALTHCHECK: [{' '.join(old.test)}]"


def _joined(step: Instruction, reading: Reading) -> str:
    return " ".join(f"{name}={value}" for name, value in pairs(step.text, step.name, reading).items())


def _expose(_: RunConfig, step: Instruction, reading: Reading) -> str:
    return " ".join(("EXPOSE", *sorted(reading.expand(word) for word in reading.words(step.text))))


def _volume(_: RunConfig, step: Instruction, reading: Reading) -> str:
    return f"VOLUME [{' '.join(volume_paths(step.text, reading))}]"


def _healthcheck(config: RunConfig, _: Instruction, __: Reading) -> str:
    check = config.healthcheck or HealthcheckConfig()
    times = " ".join(f'"{_duration(time)}"' for time in (check.interval, check.timeout, check.start_period))
    return f"HEALTHCHECK &{{{_quoted(check.test)} {times} {_rune(check.retries)}}}"


def _quoted(words: tuple[str, ...]) -> str:
    """As Go's %q shows a list of strings."""
    return f"[{' '.join(json.dumps(word, ensure_ascii=False) for word in words)}]"


def _rune(number: int) -> str:
    """As Go's %q shows a number."""
    if number in _RUNES:
        return f"'{_RUNES[number]}'"
    return f"'{chr(number)}'" if chr(number).isprintable() else f"'\\x{number:02x}'"


def _duration(time_ns: int) -> str:
    """As Go shows a duration: `1m30s`, `1.5s`, `0s`."""
    if 0 < time_ns < _SECOND_NS:
        size_ns, unit = next(each for each in _SMALL_UNITS if time_ns >= each[0])
        return f"{_decimal(time_ns, size_ns)}{unit}"
    hours, rest = divmod(time_ns, _HOUR_NS)
    minutes, rest = divmod(rest, _MINUTE_NS)
    seconds = f"{_decimal(rest, _SECOND_NS)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(unit + rest)[1:].rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


_COMMENTS: dict[str, Callable[[RunConfig, Instruction, Reading], str]] = {
    "CMD": lambda config, _, __: f"CMD {_quoted(config.cmd)}",
    "ENTRYPOINT": lambda config, _, __: f"ENTRYPOINT {_quoted(config.entrypoint)}",
    "ENV": lambda _, step, reading: f"ENV {_joined(step, reading)}",
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": lambda _, step, reading: f"LABEL {_joined(step, reading)}",
    "ONBUILD": lambda _, step, __: f"ONBUILD {step.text}",
    "SHELL": lambda config, _, __: f"SHELL [{' '.join(config.shell)}]",
    "STOPSIGNAL": lambda config, _, __: f"STOPSIGNAL {config.stop_signal}",
    "USER": lambda config, _, __: f"USER {config.user}",
    "VOLUME": _volume,
    "WORKDIR": lambda config, _, __: f"WORKDIR {config.working_dir}",
}
