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
KEY_HEADER: Final = "idempotency-key"


async def send(
    engine: Engine, request: Request, command: Command[Answer], deadline_s: float | None = DEADLINE_S
) -> tuple[Answer, Headers]:
    """The answer, and the headers that name the command. Raises EngineError."""
    command_id = command_id_of(engine, request, command)
    answer = await engine.dispatch(request.actor, command, command_id=command_id, deadline_s=deadline_s)
    return answer, {COMMAND_HEADER: command_id}


def command_id_of(engine: Engine, request: Request, command: Command[Answer]) -> str:
    """A new id, or the one that the same caller's same `Idempotency-Key` always gives for this kind of command."""
    if not request.headers.get(KEY_HEADER):
        return engine.ids.new()
    return f"{REPEATABLE}{_digest(request, command.TYPE)}"


def request_id(request: Request) -> str:
    """The id that the same caller's same `Idempotency-Key` always gives."""
    return _digest(request)


def _digest(request: Request, *more: str) -> str:
    return hashlib.sha256("\0".join((_caller(request.actor), request.headers[KEY_HEADER], *more)).encode()).hexdigest()


def _caller(actor: Actor) -> str:
    """Who may repeat a request: a user of this host, the bearer of a certificate, or else whoever has the address."""
    if actor.uid is not None:
        return f"uid {actor.uid}"
    return f"{actor.kind} {actor.subject or actor.address.rpartition(':')[0]}"
