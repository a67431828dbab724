"""What is asked of an engine while it is killed, and how its effect, or that there was none, can be seen."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.clients.raw import Answer
from tests.crashing.world import LOST, Died, World

SEEN = Answer(status=200, headers={}, body=b"")  # what was waited for has come


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`act` returns its answers, the last of them LOST when the daemon died.

    `done` and `undone` look at an engine that nobody asks anything else of; `effect` is where they look.
    """

    name: str
    prepare: Callable[[World], object] = lambda world: None
    act: Callable[[World], Sequence[Answer]]
    done: Callable[[World], bool]
    undone: Callable[[World], bool]
    unknowable: bool = False  # an effect that the host can't show: settled as unknown, never repeated
    vanishes: bool = False  # its object goes by itself: a repeat may find it gone


def one(method: str, path: str, **query: Any) -> Callable[[World], Sequence[Answer]]:
    return lambda world: (world.again(method, path, **query),)


def in_turn(*steps: Callable[[World], Answer]) -> Callable[[World], Sequence[Answer]]:
    """One after the other, until one is lost."""

    def act(world: World) -> Sequence[Answer]:
        answers: list[Answer] = []
        for step in steps:
            try:
                answers.append(step(world))
            except Died:
                answers.append(LOST)
            if not answers[-1].status:
                break
        return answers

    return act
