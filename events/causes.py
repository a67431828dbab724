"""Why something is as it is: its events gathered into the commands that led to them, as trees with their callers.

A command's steps have its id with a number behind it; what a policy asked for names the event that it followed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from events.base import Event
from events.envelope import Actor, Recorded
from events.messages.system import CommandRefused
from events.outcomes import DONE, REQUESTED, told_by

_SHOWN_CHARACTERS: Final = 256  # of a value of an event

Value = str | int | bool | None | list[str]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `fields` are its plain ones, without what is nested or sealed."""

    sequence: int
    clock_ns: int
    type: str
    stream: str
    fields: dict[str, Value] = {}


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """A command with its events, and the commands that it led to."""

    command: str  # its TYPE
    command_id: str
    correlation_id: str  # of the request that began it all
    actor: Actor
    outcome: str  # requested (it is still open), done, failed, refused
    reason: str = ""  # of a failure
    began_ns: int  # wall clock
    duration_ns: int  # from its first event to its last
    after_event: int = 0  # the event that led to it, for what no client asked for
    events: tuple[Step, ...]
    led_to: tuple["Deed", ...] = ()


def root_of(command_id: str) -> str:
    """The id of the command that a step belongs to."""
    return command_id.partition(".")[0]


def deeds(recorded: Iterable[Recorded]) -> tuple[Deed, ...]:
    """Trees of commands from events in the log's order."""
    groups = _groups(recorded)
    owner = {each.sequence: key for key, events in groups.items() for each in events}
    children: defaultdict[str, list[str]] = defaultdict(list)
    for key, events in groups.items():
        children[_parent(key, events[0], groups.keys(), owner)].append(key)

    def grown(key: str) -> Deed:
        return _deed(key, groups[key], tuple(grown(child) for child in children.get(key, ())))

    return tuple(grown(key) for key in children[""])


def _groups(recorded: Iterable[Recorded]) -> dict[str, list[Recorded]]:
    """Events by command; what one step of a command began and another one ended belongs to the first."""
    groups: defaultdict[str, list[Recorded]] = defaultdict(list)
    begun: dict[tuple[str, str, str], str] = {}
    for each in recorded:
        key = each.cause.command_id or f"event-{each.sequence}"
        told = told_by(each.event.TYPE)
        matter = (root_of(key), each.stream, told.command)
        if told.outcome == REQUESTED:
            begun[matter] = key
        groups[key if told.outcome == REQUESTED else begun.pop(matter, key)].append(each)
    return groups


def _parent(key: str, first: Recorded, known: Iterable[str], owner: dict[int, str]) -> str:
    """The command that a command comes from, as far as it is known; "" for none."""
    prefix = key
    while "." in prefix:
        prefix = prefix.rpartition(".")[0]
        if prefix in known:
            return prefix
    found = owner.get(first.cause.causation, "")
    return "" if found == key or first.cause.causation >= first.sequence else found


def _deed(key: str, events: Sequence[Recorded], led_to: tuple[Deed, ...]) -> Deed:
    first, last = events[0], events[-1]
    command, outcome, reason = _outcome(events)
    return Deed(
        command=command,
        command_id=key,
        correlation_id=first.cause.correlation_id,
        actor=first.cause.actor,
        outcome=outcome,
        reason=reason,
        began_ns=first.clock_ns,
        duration_ns=last.time_ns - first.time_ns,
        after_event=first.cause.causation,
        events=tuple(map(_step, events)),
        led_to=led_to,
    )


def _outcome(events: Sequence[Recorded]) -> tuple[str, str, str]:
    """The command that the events tell of, how the last of them leaves it, and why."""
    command, outcome, reason = told_by(events[0].event.TYPE).command, DONE, ""
    open_intents: set[str] = set()
    for each in events:
        told = told_by(each.event.TYPE)
        if isinstance(each.event, CommandRefused):
            return each.event.command, told.outcome, each.event.reason
        if told.outcome == REQUESTED:
            open_intents.add(told.command)
            continue
        open_intents.discard(told.command)
        error = getattr(each.event, "error", "")
        if told.outcome != DONE:
            outcome, reason = told.outcome, str(error)
    return command, REQUESTED if open_intents and outcome == DONE else outcome, reason


def _step(recorded: Recorded) -> Step:
    return Step(
        sequence=recorded.sequence,
        clock_ns=recorded.clock_ns,
        type=recorded.event.TYPE,
        stream=recorded.stream,
        fields=dict(_plain(recorded.event)),
    )


def _plain(event: Event) -> Iterable[tuple[str, Value]]:
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str):
            yield name, value[:_SHOWN_CHARACTERS]
        elif isinstance(value, bool | int) or value is None:
            yield name, value
        elif isinstance(value, tuple) and value and all(isinstance(each, str) for each in value):
            yield name, [each[:_SHOWN_CHARACTERS] for each in value]
