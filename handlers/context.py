"""What a handler is handed with a command: the log, the state, a clock, ids, keys, and a way to ask other handlers."""

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import anyio
import msgspec

from events.base import Command, Event
from events.envelope import Cause, Failure, Recorded, Reply
from events.errors import DeadlineExceeded, EngineError
from events.log import Append, EventLog, VersionConflict
from events.projections.state import State
from events.sealed import Keyring

Answer = TypeVar("Answer")
DECISION_RETRIES = 100
SETTLING_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, *(60.0,) * 1440)  # a day, while the log refuses what became of it


class Clock(Protocol):
    """Wall-clock time."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""


class SystemClock:
    """The host's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns()


class Ids(Protocol):
    """Source of new identifiers."""

    def new(self) -> str:
        """64 lower-case hexadecimal digits, unguessable."""


class RandomIds:
    """Ids from the kernel's random source."""

    def new(self) -> str:
        """64 lower-case hexadecimal digits, unguessable."""
        return secrets.token_hex(32)


class Sender(Protocol):
    """Sends a command to its handler over the bus and waits for the answer; raises the handler's error."""

    async def __call__(self, command: Command[Answer], *, command_id: str, cause: Cause) -> Answer:
        """`command_id` is the new command's id, `cause` what it is sent for."""


class Watcher(Protocol):
    """Wakes those who wait for a stream of the log."""

    def watch(self, stream: str) -> AbstractContextManager[Callable[[], Awaitable[None]]]:
        """While entered, the yielded function waits for the next event on the stream since its last call."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What all commands share; made once by the daemon's composition (`daemon/bootstrap.py`)."""

    log: EventLog
    state: State
    clock: Clock
    ids: Ids
    keyring: Keyring
    sender: Sender
    watcher: Watcher


class Context:
    """One command's run."""

    def __init__(self, services: Services, cause: Cause, *, step_prefix: str = "") -> None:
        self.services = services
        self.cause = cause
        self._steps = f"{cause.command_id}.{step_prefix}"
        self.state = services.state
        self.log = services.log
        self.clock = services.clock
        self.ids = services.ids
        self.keyring = services.keyring
        self._sent = 0
        self.is_concluded = False  # whether the log has the command's answer

    def on_behalf_of(self, cause: Cause) -> "Context":
        """The same services for another cause: recovery concludes a command under the id of its intent."""
        return Context(self.services, cause)

    async def append(
        self,
        stream: str,
        *events: Event,
        expected: int | None = None,
        take: Sequence[str] = (),
        release: Sequence[str] = (),
        answer: object = msgspec.UNSET,
    ) -> int:
        """Append to one stream and return the last sequence.

        `answer` concludes the command; None is an answer, and so is an EngineError.
        """
        batch = (Append(stream=stream, events=events, expected=expected, take=tuple(take), release=tuple(release)),)
        recorded = await self.append_all(batch, answer=answer)
        return recorded[-1].sequence

    async def append_all(self, batch: Sequence[Append], *, answer: object = msgspec.UNSET) -> Sequence[Recorded]:
        """Append to several streams atomically."""
        reply = None
        if answer is not msgspec.UNSET:
            reply = msgspec.json.encode(_reply(answer))
        recorded = await self.log.append(batch, cause=self.cause, reply=reply)
        self.is_concluded |= reply is not None
        return recorded

    async def decide(self, decision: Callable[[], Append], *, answer: object = msgspec.UNSET) -> int:
        """Append what `decision` chooses from the present state, deciding again while others are faster.

        `decision` is pure and synchronous, reads `state`, sets `expected`, and raises to refuse.
        """
        for _ in range(DECISION_RETRIES):
            try:
                recorded = await self.append_all((decision(),), answer=answer)
            except VersionConflict:
                continue
            return recorded[-1].sequence
        raise DeadlineExceeded("too many others are changing the same object; try again")

    async def send(self, command: Command[Answer]) -> Answer:
        """Ask another handler, on behalf of the same actor."""
        self._sent += 1
        return await self.services.sender(command, command_id=f"{self._steps}{self._sent}", cause=self.cause)

    async def until(self, stream: str, holds: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until `holds()` after an event on `stream`; False when it took longer than `timeout_s`."""
        with self.services.watcher.watch(stream) as changed, anyio.move_on_after(timeout_s):
            while not holds():
                await changed()
        return holds()


def _reply(answer: object) -> Reply:
    if isinstance(answer, EngineError):
        return Reply(failure=Failure(kind=answer.kind, message=str(answer)))
    return Reply(answer=msgspec.Raw(msgspec.json.encode(answer)))


Handle = Callable[[Context, Any], Awaitable[Any]]


class Handler(Protocol):
    """A domain: its commands, and how it squares the log with the host at boot."""

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """The table command -> coroutine `(context, command) -> answer`."""

    async def reconcile(self, context: Context) -> None:
        """At boot, before anything is served: settle open intents of this domain, remove what nobody knows.

        Runs with the recovery actor. One stuck object must not hold up the others.
        """
