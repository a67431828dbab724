"""A command has one effect, however often and over how many lives of the daemon it arrives."""

import anyio
import msgspec

from daemon.bus.dispatcher import MESSAGE_CHARACTERS, Dispatcher
from daemon.watch import StreamWatcher
from events.envelope import Actor, CommandEnvelope, Failure, Recorded
from events.errors import Conflict, EngineError
from events.memory_log import MemoryLog
from events.messages.container import ContainerAccessed, RecordAccess
from events.messages.system import CommandRefused, CommandSatisfied
from events.projections.state import State
from handlers.containers.errors import InvalidEnvironment
from handlers.context import Handle, RandomIds, Services, SystemClock
from tests.fakes.keyring import MemoryKeyring

CLIENT = Actor(kind="unix", uid=1000, gid=1000, pid=42, user_agent="test")
COMMAND = RecordAccess(container="web", action="top")


async def unreachable(*_args, **_keywords):
    raise AssertionError("no other handler is asked here")


def services(log: MemoryLog) -> Services:
    return Services(
        log=log,
        state=State(),
        clock=SystemClock(),
        ids=RandomIds(),
        keyring=MemoryKeyring(),
        sender=unreachable,
        watcher=StreamWatcher(),
    )


def envelope(command_id="key-one", *, type_=RecordAccess.TYPE, actor=CLIENT, deadline_ns=0) -> CommandEnvelope:
    return CommandEnvelope(
        id=command_id,
        type=type_,
        data=msgspec.Raw(msgspec.json.encode(COMMAND)),
        actor=actor,
        correlation_id=command_id,
        deadline_ns=deadline_ns,
    )


class Handler:
    """Counts its runs; each writes one event that concludes the command."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs, self.error = 0, error
        self.entered, self.gate = anyio.Event(), anyio.Event()

    async def __call__(self, context, command):
        self.runs += 1
        self.entered.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        event = ContainerAccessed(container_id="c", action=command.action)
        await context.append("container/c", event, answer=None)


async def satisfied(_context, _command):
    """A handler that finds nothing to change."""


def dispatcher(handler: Handle, log: MemoryLog) -> Dispatcher:
    return Dispatcher({RecordAccess.TYPE: (RecordAccess, handler)}, services(log))


async def events_of(log: MemoryLog) -> list[Recorded]:
    return [recorded async for recorded in log.read(limit=0)]


async def test_a_repeat_joins_the_running_command():
    log, handler = MemoryLog(SystemClock()), Handler()
    subject = dispatcher(handler, log)
    replies = []

    async def ask():
        replies.append(await subject.handle(envelope()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await handler.entered.wait()
            handler.gate.set()
    assert handler.runs == 1
    assert replies[0] == replies[1]
    assert len(await events_of(log)) == 1


async def test_a_repeat_after_a_restart_gets_the_recorded_answer():
    log, first, second = MemoryLog(SystemClock()), Handler(), Handler()
    first.gate.set()
    await dispatcher(first, log).handle(envelope())
    reply = await dispatcher(second, log).handle(envelope())
    assert (first.runs, second.runs) == (1, 0)
    assert reply.failure is None


async def test_a_command_that_has_nothing_to_change_leaves_a_trace_and_its_answer_is_repeated():
    log, again = MemoryLog(SystemClock()), Handler()
    reply = await dispatcher(satisfied, log).handle(envelope())
    (recorded,) = await events_of(log)
    assert recorded.event == CommandSatisfied(command="container.record_access", target="web")
    assert recorded.cause.actor == CLIENT
    assert (await dispatcher(again, log).handle(envelope())).answer == reply.answer
    assert again.runs == 0


async def test_a_step_that_has_nothing_to_change_leaves_none():
    log = MemoryLog(SystemClock())
    await dispatcher(satisfied, log).handle(envelope("one.1"))
    assert await events_of(log) == []


async def test_a_refusal_is_in_the_log_with_its_reason_and_its_actor_and_is_repeated():
    log, handler = MemoryLog(SystemClock()), Handler(Conflict("no"))
    handler.gate.set()
    reply = await dispatcher(handler, log).handle(envelope())
    assert reply.failure == Failure(kind="conflict", message="no")
    (recorded,) = await events_of(log)
    assert recorded.event == CommandRefused(
        command="container.record_access", target="web", kind="conflict", reason="no"
    )
    assert recorded.cause.actor == CLIENT
    again = Handler()
    assert (await dispatcher(again, log).handle(envelope())).failure == reply.failure
    assert again.runs == 0


async def test_a_text_that_may_quote_a_secret_goes_to_the_client_alone():
    log, handler = MemoryLog(SystemClock()), Handler(InvalidEnvironment("=hunter2"))
    handler.gate.set()
    reply = await dispatcher(handler, log).handle(envelope())
    assert reply.failure == Failure(
        kind="invalid_parameter",
        message="invalid environment variable: =hunter2",
        recorded="invalid environment variable",
    )
    (recorded,) = await events_of(log)
    assert isinstance(recorded.event, CommandRefused)
    assert recorded.event.reason == "invalid environment variable"
    assert recorded.reply is not None
    assert b"hunter2" not in recorded.reply


async def test_a_text_of_any_length_fits_the_bus_and_the_log():
    log, handler = MemoryLog(SystemClock()), Handler(Conflict("x" * 20_000_000))
    handler.gate.set()
    reply = await dispatcher(handler, log).handle(envelope())
    assert reply.failure is not None
    assert len(reply.failure.message) == MESSAGE_CHARACTERS
    (recorded,) = await events_of(log)
    assert isinstance(recorded.event, CommandRefused)
    assert len(recorded.event.reason) == 4096


async def test_a_refused_step_of_another_command_is_not_a_refusal_of_its_own():
    log, handler = MemoryLog(SystemClock()), Handler(Conflict("no"))
    handler.gate.set()
    reply = await dispatcher(handler, log).handle(envelope("one.1"))
    assert reply.failure is not None
    assert await events_of(log) == []


async def test_an_unexpected_error_is_an_answer_too():
    handler = Handler(ZeroDivisionError("oops"))
    handler.gate.set()
    reply = await dispatcher(handler, MemoryLog(SystemClock())).handle(envelope())
    assert reply.failure == Failure(kind=EngineError.kind, message="ZeroDivisionError: oops")


async def test_an_unknown_command_is_refused():
    reply = await dispatcher(Handler(), MemoryLog(SystemClock())).handle(envelope(type_="no.such"))
    assert reply.failure == Failure(kind="unsupported", message="no handler for command no.such")


async def test_a_deadline_cancels_and_says_so():
    with anyio.fail_after(5):
        reply = await dispatcher(Handler(), MemoryLog(SystemClock())).handle(envelope(deadline_ns=1))
    assert reply.failure is not None
    assert reply.failure.kind == "deadline_exceeded"
