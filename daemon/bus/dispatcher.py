"""Runs each command once, however often it arrives, and sees to it that refusals are in the log too."""

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import anyio
import msgspec

from daemon.refusals import TARGET_CHARACTERS, record_refusal
from events.base import Command
from events.envelope import REPEATABLE, Cause, CommandEnvelope, Failure, Reply
from events.errors import DeadlineExceeded, EngineError, NotModified, Unsupported
from events.log import LogBroken
from events.messages.system import CommandSatisfied
from handlers.context import Context, Handle, Services

LOGGER = logging.getLogger(__name__)
REMEMBERED_REPLIES = 1024  # repeats come within seconds; for later ones there is the log
MESSAGE_CHARACTERS = 64 * 1024  # a client's own text, quoted, may be as large as the bus takes
CLIENTS = frozenset({"unix", "tls", "tcp"})

Table = Mapping[str, tuple[type[Command[Any]], Handle]]


class Run:
    """A command that runs or has run; repeats wait for its reply."""

    def __init__(self) -> None:
        self._done = anyio.Event()
        self._reply = Reply()

    def finish(self, reply: Reply) -> None:
        """Give every waiter the answer."""
        self._reply = reply
        self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether it has an answer."""
        return self._done.is_set()

    async def reply(self) -> Reply:
        """Wait for the answer."""
        await self._done.wait()
        return self._reply


class Dispatcher:
    """Command envelope in, reply out; the same id has one effect and gets the first answer again."""

    def __init__(self, table: Table, services: Services) -> None:
        self._table = table
        self._services = services
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._ended = 0

    async def handle(self, envelope: CommandEnvelope) -> Reply:
        """Run a command, join it, or repeat its answer. Never raises an EngineError: it is in the reply."""
        known = self._runs.get(envelope.id)
        if known is not None:
            return await known.reply()
        run = self._runs[envelope.id] = Run()
        try:
            reply = await self._recorded_reply(envelope) or await self._execute(envelope)
        except BaseException:
            stopping = Failure(kind="unavailable", message="the engine is stopping")
            self._conclude(envelope.id, run, Reply(failure=stopping))
            raise
        self._conclude(envelope.id, run, reply)
        return reply

    def _conclude(self, command_id: str, run: Run, reply: Reply) -> None:
        """Only what has ended is ever forgotten, the oldest first."""
        run.finish(reply)
        self._runs.move_to_end(command_id)
        self._ended += 1
        while self._ended > REMEMBERED_REPLIES:
            oldest = next(key for key, each in self._runs.items() if each.is_done)
            del self._runs[oldest]
            self._ended -= 1

    async def _recorded_reply(self, envelope: CommandEnvelope) -> Reply | None:
        """What an earlier daemon answered. Other ids never come again, and looking costs half a millisecond."""
        if "." in envelope.id or not envelope.id.startswith(REPEATABLE):
            return None
        recorded = await self._services.log.reply_to(envelope.id)
        return None if recorded is None else msgspec.json.decode(recorded, type=Reply)

    async def _execute(self, envelope: CommandEnvelope) -> Reply:
        cause = Cause(
            actor=envelope.actor,
            command_id=envelope.id,
            correlation_id=envelope.correlation_id,
            causation=envelope.causation,
        )
        context = Context(self._services, cause)
        command: Command[Any] | None = None
        try:
            command, handle = self._decode(envelope)
            answer = await self._within_deadline(handle, context, command, envelope.deadline_ns)
            await self._conclude_satisfied(context, envelope, command, answer)
        except EngineError as error:
            return await self._refuse(context, envelope, command, error)
        except Exception as error:
            LOGGER.exception("command %s %s failed", envelope.type, envelope.id)
            unexpected = EngineError(f"{type(error).__name__}: {error}")
            return await self._refuse(context, envelope, command, unexpected)
        return Reply(sequence=self._services.state.sequence, answer=msgspec.Raw(msgspec.json.encode(answer)))

    def _decode(self, envelope: CommandEnvelope) -> tuple[Command[Any], Handle]:
        if envelope.type not in self._table:
            raise Unsupported(f"no handler for command {envelope.type}")
        command_type, handle = self._table[envelope.type]
        return msgspec.json.decode(envelope.data, type=command_type), handle

    async def _within_deadline(
        self, handle: Handle, context: Context, command: Command[Any], deadline_ns: int
    ) -> object:
        """The deadline cancels the handler, whose undo is shielded: the answer comes after the outcome."""
        left_s = (deadline_ns - time.time_ns()) / 1e9 if deadline_ns else None
        with anyio.move_on_after(left_s) as scope:
            return await handle(context, command)
        if scope.cancelled_caught:
            raise DeadlineExceeded("the command took longer than its deadline and was undone")
        return None

    async def _conclude_satisfied(
        self, context: Context, envelope: CommandEnvelope, command: Command[Any], answer: object
    ) -> None:
        """A client's command that had nothing to change leaves a trace too, and a repeat gets its answer."""
        if not _is_clients(envelope) or context.is_concluded:
            return
        if await self._services.log.reply_to(envelope.id) is None:
            target = target_of(command)[:TARGET_CHARACTERS]
            event = CommandSatisfied(command=envelope.type, target=target)
            await context.append(f"command/{envelope.id}", event, answer=answer)

    async def _refuse(
        self, context: Context, envelope: CommandEnvelope, command: Command[Any] | None, error: EngineError
    ) -> Reply:
        """A client's refused command leaves a trace; steps of a command are told by its own outcome."""
        reply = Reply(failure=failure_of(error))
        if _is_clients(envelope) and not isinstance(error, LogBroken):
            recorded = Failure(kind=error.kind, message=error.recorded[:MESSAGE_CHARACTERS])
            await record_refusal(
                self._services.log,
                context.cause,
                command=envelope.type,
                target=target_of(command),
                error=error,
                reply=msgspec.json.encode(Reply(failure=recorded)),
            )
        if not isinstance(error, NotModified):
            LOGGER.info("%s refused (%s): %s", envelope.type, error.kind, error.recorded[:MESSAGE_CHARACTERS])
        return msgspec.structs.replace(reply, sequence=self._services.state.sequence)


def _is_clients(envelope: CommandEnvelope) -> bool:
    """Whether a client has asked for it, and not another command for one of its steps."""
    return envelope.actor.kind in CLIENTS and "." not in envelope.id


def failure_of(error: EngineError) -> Failure:
    """The error for the bus; of a text without end only the beginning."""
    message, recorded = str(error)[:MESSAGE_CHARACTERS], error.recorded[:MESSAGE_CHARACTERS]
    return Failure(kind=error.kind, message=message, recorded=None if recorded == message else recorded)


def target_of(command: Command[Any] | None) -> str:
    """The object that a command is about, as the client named it; "" when it names none."""
    for field in ("container", "exec_id", "name", "source"):
        value = getattr(command, field, "")
        if isinstance(value, str) and value:
            return value
    return ""
