"""Sends a request's command: whose it is, which id it goes by, and how the client learns of the id."""

import hashlib
from typing import Final, TypeVar

from daemon.api.engine import DEADLINE_S, Engine
from daemon.http.messages import Request
from events.base import Command
from events.envelope import REPEATABLE, Actor

Answer = TypeVar("Answer")
Headers = dict[str, str]

COMMAND_HEADER: Final = "X-Shiplog-Command"
_KEY_HEADER: Final = "idempotency-key"


async def send(
    engine: Engine, request: Request, command: Command[Answer], deadline_s: float | None = DEADLINE_S
) -> tuple[Answer, Headers]:
    """The answer, and the headers that name the command. Raises EngineError."""
    command_id = command_id_of(engine, request, command)
    answer = await engine.dispatch(request.actor, command, command_id=command_id, deadline_s=deadline_s)
    return answer, {COMMAND_HEADER: command_id}


def command_id_of(engine: Engine, request: Request, command: Command[Answer]) -> str:
    """A new id, or the one that the same caller's same `Idempotency-Key` always gives for this kind of command."""
    key = request.headers.get(_KEY_HEADER, "")
    if not key:
        return engine.ids.new()
    digest = hashlib.sha256("\0".join((_caller(request.actor), key, command.TYPE)).encode()).hexdigest()
    return f"{REPEATABLE}{digest}"


def _caller(actor: Actor) -> str:
    """Who may repeat a command: a user of this host, or the bearer of a certificate."""
    return f"uid {actor.uid}" if actor.uid is not None else f"{actor.kind} {actor.subject or actor.address}"
