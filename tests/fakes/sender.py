"""Handlers without a bus: an engine in one process, on a log in memory; steps go straight to their handler."""

import itertools
import json
from typing import Any

import msgspec

from daemon.watch import StreamWatcher
from events.base import Command, Event
from events.envelope import Actor, Cause
from events.memory_log import MemoryLog
from events.projections.state import State
from handlers.context import Context, Handler, Ids, RandomIds, Services
from handlers.registry import table
from tests.fakes.keyring import MemoryKeyring

CLIENT = Actor(kind="unix", uid=0, gid=0, pid=1)


class SteppingClock:
    """A clock that moves by one second whenever it is read."""

    def __init__(self) -> None:
        self._times = itertools.count(1_700_000_000_000_000_000, 1_000_000_000)

    def now_ns(self) -> int:
        """The next second."""
        return next(self._times)


class Engine:
    """Sends commands to handlers and tells what is in the log. Payloads pass through JSON, as on the bus."""

    def __init__(self, *handlers: Handler, log: MemoryLog | None = None, ids: Ids | None = None) -> None:
        self.handlers = handlers
        self.log = log or MemoryLog(SteppingClock())
        self.state = State()
        watcher = StreamWatcher()
        self.log.listen(self.state.apply)
        self.log.listen(watcher.notify)
        self._table = table(handlers)
        self._numbers = itertools.count(1)
        self.services = Services(
            log=self.log,
            state=self.state,
            clock=SteppingClock(),
            ids=ids or RandomIds(),
            keyring=MemoryKeyring(),
            sender=self._forward,
            watcher=watcher,
        )

    def context(self) -> Context:
        """A context for a new command of a client."""
        command_id = f"command-{next(self._numbers)}"
        return Context(self.services, Cause(actor=CLIENT, command_id=command_id, correlation_id=command_id))

    async def send(self, command: Command[Any]) -> Any:
        """Have a client's command carried out."""
        return await self._run(self.context(), command)

    async def reconcile(self) -> None:
        """Boot: every handler squares the log with the host."""
        for handler in self.handlers:
            await handler.reconcile(self.context())

    async def append(self, stream: str, *events: Event) -> None:
        """Put events into the log, as an earlier daemon may have."""
        await self.context().append(stream, *events)

    async def events(self) -> list[Event]:
        """All events, in order."""
        return [recorded.event async for recorded in self.log.read(limit=0)]

    async def names(self) -> list[str]:
        """The types of all events, in order."""
        return [event.TYPE for event in await self.events()]

    async def reply(self, command_id: str) -> Any:
        """The recorded answer of a command."""
        recorded = await self.log.reply_to(command_id)
        return None if recorded is None else json.loads(recorded)

    async def _forward(self, command: Command[Any], *, command_id: str, cause: Cause) -> Any:
        step = Cause(actor=cause.actor, command_id=command_id, correlation_id=cause.correlation_id)
        return await self._run(Context(self.services, step), command)

    async def _run(self, context: Context, command: Command[Any]) -> Any:
        kind, handle = self._table[command.TYPE]
        return await handle(context, msgspec.json.decode(msgspec.json.encode(command), type=kind))

    async def _report(self, command_id: str, report: msgspec.Struct) -> None:
        """Nobody listens."""
