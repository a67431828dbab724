"""A volume handler on a log in memory, and a way to stop it anywhere and start another one on the same log."""

import itertools
from typing import Any

import msgspec

from daemon.watch import StreamWatcher
from events.base import Command, Event
from events.envelope import RECOVERY, Actor, Cause, Reply
from events.memory_log import MemoryLog
from events.projections.state import State
from handlers.context import Context, RandomIds, Services
from handlers.volumes.handler import VolumeHandler
from tests.fakes.clock import SetClock
from tests.fakes.keyring import MemoryKeyring
from tests.fakes.volume_driver import FakeVolumeDriver

CLIENT = Actor(kind="unix", uid=0)


class Engine:
    """Volumes alone: nothing is sent to other handlers and nobody hears reports."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.log = MemoryLog(self.clock)
        self.keyring = MemoryKeyring()
        self.driver: FakeVolumeDriver = FakeVolumeDriver()
        self._ids = itertools.count(1)
        self.start()

    def start(self) -> None:
        """A new daemon on what the old one left."""
        self.state = State()
        self.watcher = StreamWatcher()
        self.log.listen(self.state.apply)
        self.log.listen(self.watcher.notify)
        self.handler = VolumeHandler({"local": self.driver, "other": FakeVolumeDriver("other")})

    async def restart(self) -> None:
        """Start again and recover."""
        self.start()
        self.state.apply([recorded async for recorded in self.log.read(limit=0)])
        await self.recover()

    async def recover(self) -> None:
        """Recover, also beside commands."""
        cause = Cause(actor=RECOVERY, command_id="recovery", correlation_id="recovery")
        await self.handler.reconcile(Context(self._services(), cause))

    async def __call__(self, command: Command[Any], command_id: str = "") -> Any:
        """Run a command."""
        name = command_id or f"command-{next(self._ids)}"
        context = Context(self._services(), Cause(actor=CLIENT, command_id=name, correlation_id=name))
        return await self.handler.commands()[type(command)](context, command)

    async def append(
        self, stream: str, *events: Event, command_id: str = "cut-off", take: tuple[str, ...] = ()
    ) -> None:
        """Put into the log what a daemon had written when it was killed."""
        cause = Cause(actor=CLIENT, command_id=command_id, correlation_id=command_id)
        await Context(self._services(), cause).append(stream, *events, take=take)

    async def tags(self) -> list[str]:
        """Types of all events, in order."""
        return [recorded.event.TYPE async for recorded in self.log.read(limit=0)]

    async def answer(self, command_id: str) -> Reply:
        """What a repeat of a command would be answered."""
        recorded = await self.log.reply_to(command_id)
        assert recorded is not None
        return msgspec.json.decode(recorded, type=Reply)

    def _services(self) -> Services:
        return Services(
            log=self.log,
            state=self.state,
            clock=self.clock,
            ids=RandomIds(),
            keyring=self.keyring,
            sender=_send_nothing,
            watcher=self.watcher,
        )


async def _send_nothing(command: Command[Any], *, command_id: str, cause: Cause) -> Any:
    raise AssertionError(f"volumes send no commands: {command_id} {command} {cause}")


async def _report_nothing(command_id: str, report: msgspec.Struct) -> None:
    raise AssertionError(f"volumes report nothing: {command_id} {report}")
