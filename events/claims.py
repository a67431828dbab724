"""Unique keys that streams hold (names, ports, addresses); without them uniqueness across objects would need locks.

A stored event carries only what really changed hands, so folding stored events in their order gives the holders.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from events.log import Append, ClaimTaken, LogBroken

Holder = Callable[[str], str | None]


class Change(msgspec.Struct, frozen=True):
    """Keys that an append's stream gains and loses."""

    take: tuple[str, ...] = ()
    release: tuple[str, ...] = ()


UNCHANGED = Change()


class Told(msgspec.Struct, frozen=True, gc=False):
    """What of a stored event tells who holds what from there on."""

    stream: str
    take: tuple[str, ...] = ()
    release: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(Told)


def settle(appends: Sequence[Append], holder: Holder) -> dict[str, str | None]:
    """Who holds the keys that a batch names, after it (None: nobody): all releases first, then all takes.

    `holder` tells who holds a key before. Raises ClaimTaken.
    """
    after: dict[str, str | None] = {}
    for append in appends:
        after.update({key: None for key in append.release if holder(key) == append.stream})
    for append in appends:
        for key in append.take:
            present = after[key] if key in after else holder(key)
            if present is not None and present != append.stream:
                raise ClaimTaken(key, present)
            after[key] = append.stream
    return after


def change(append: Append, holder: Holder, after: Mapping[str, str | None]) -> Change:
    """What an append really changes, given the holders before its batch and after it."""
    if not append.take and not append.release:
        return UNCHANGED
    stream = append.stream
    return Change(
        take=tuple(dict.fromkeys(key for key in append.take if after[key] == stream and holder(key) != stream)),
        release=tuple(dict.fromkeys(key for key in append.release if holder(key) == stream and after[key] != stream)),
    )


def told_by(stored: bytes) -> Told:
    """Read no more of an event than that. Raises LogBroken."""
    try:
        return _decoder.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogBroken(f"a stored event can't be read: {error}") from error


def fold(holders: dict[str, str], told: Told) -> None:
    """Take in what one stored event changes (key -> stream that holds it)."""
    for key in told.release:
        if holders.get(key) == told.stream:
            del holders[key]
    holders.update(dict.fromkeys(told.take, told.stream))
