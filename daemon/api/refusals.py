"""Records requests that were to change something and that no handler hears of; without it they would leave no name."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from daemon.api.engine import Asked, Engine, EngineEndpoint, Requester
from daemon.api.repeats import Repeats
from daemon.http.messages import Answer, Endpoint, Request, Response
from daemon.http.query import text
from daemon.refusals import TARGET_CHARACTERS, record_refusal
from events.base import Command
from events.envelope import Actor, Cause
from events.errors import EngineError
from events.log import Append, EventLog, LogBroken
from events.messages.system import CommandSatisfied
from handlers.context import Ids

CommandAnswer = TypeVar("CommandAnswer")

CHANGING: Final = frozenset({"POST", "PUT", "DELETE"})
QUERIES: Final = frozenset({"/containers/{id:path}/wait", "/auth"})  # posted, and yet they change nothing


def recorded(engine: Engine, repeats: Repeats, method: str, pattern: str, endpoint: EngineEndpoint) -> Endpoint:
    """The endpoint for one engine; unless it only reads, what it refuses is in the log, and a key makes it once."""
    is_query = method not in CHANGING or pattern in QUERIES
    once = repeats.once(method, pattern, endpoint)

    async def ask(request: Request) -> Answer:
        return await endpoint(engine, request)

    async def ask_and_record(request: Request) -> Answer:
        noting = Noting(engine.requester)
        try:
            answer = await once(msgspec.structs.replace(engine, requester=noting), request)
        except EngineError as error:
            await _record(engine, request, f"{method} {pattern}", noting, error)
            raise
        except Exception as error:
            unexpected = EngineError(f"{type(error).__name__}: {error}")
            await _record(engine, request, f"{method} {pattern}", noting, unexpected)
            raise
        if not noting.command_id and isinstance(answer, Response):  # the others' commands come with their streams
            await _record_satisfied(engine, request, f"{method} {pattern}")
        return answer

    return ask if is_query else ask_and_record


class Noting:
    """A requester that knows which command was sent last."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self.command_id = ""

    async def request(
        self, command: Command[CommandAnswer], *, command_id: str, cause: Cause, deadline_ns: int = 0
    ) -> tuple[CommandAnswer, int]:
        """See `Requester`."""
        self.command_id = command_id
        return await self._requester.request(command, command_id=command_id, cause=cause, deadline_ns=deadline_ns)

    async def begin(
        self,
        command: Command[CommandAnswer],
        *,
        command_id: str,
        cause: Cause,
        deadline_ns: int = 0,
        on_reply: Callable[[], None] | None = None,
    ) -> Asked[CommandAnswer]:
        """See `Requester`."""
        self.command_id = command_id
        return await self._requester.begin(
            command, command_id=command_id, cause=cause, deadline_ns=deadline_ns, on_reply=on_reply
        )


async def _record(engine: Engine, request: Request, command: str, noting: Noting, error: EngineError) -> None:
    """Once: a command that arrived is concluded in the log by whoever answered it."""
    arrived = noting.command_id and await engine.log.reply_to(noting.command_id) is not None
    if arrived or isinstance(error, LogBroken):
        return
    command_id = noting.command_id or engine.ids.new()
    cause = Cause(actor=request.actor, command_id=command_id, correlation_id=command_id)
    await record_refusal(engine.log, cause, command=command, target=_target(request), error=error)


async def _record_satisfied(engine: Engine, request: Request, route: str) -> None:
    command_id = engine.ids.new()
    cause = Cause(actor=request.actor, command_id=command_id, correlation_id=command_id)
    event = CommandSatisfied(command=route, target=_target(request)[:TARGET_CHARACTERS])
    await engine.log.append((Append(stream=f"command/{command_id}", events=(event,)),), cause=cause)


async def record_unrouted(log: EventLog, ids: Ids, actor: Actor, method: str, path: str, error: EngineError) -> None:
    """A request that no endpoint hears of: its path or its version is none of ours."""
    if method not in CHANGING:
        return
    command_id = ids.new()
    cause = Cause(actor=actor, command_id=command_id, correlation_id=command_id)
    await record_refusal(log, cause, command=method, target=path, error=error)


def _target(request: Request) -> str:
    """The object that the request names, as far as its head tells."""
    named = request.parameters.get("id") or request.parameters.get("name") or text(request.query, "name")
    return named or text(request.query, "repo")
