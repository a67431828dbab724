"""Commands over NATS: published, answered on an inbox, sent again with the same id when a server died in between."""

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
import anyio.abc
import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from events.base import Command, answer_type
from events.envelope import Cause, CommandEnvelope, Failure, Reply
from events.errors import KINDS, InvalidParameter, SystemFailure, Unavailable

LOGGER = logging.getLogger(__name__)
Answer = TypeVar("Answer")
MAXIMUM_COMMAND_BYTES = 8 * 1000 * 1000 - 64 * 1024  # below the server's max_payload, headers included
CLOSE_S = 2.0
PENDING_BYTES = 64 * 1024 * 1024  # what may wait while the server is away
RESEND_S = 15.0  # what a lost message may cost at most when no reconnection told of it

Handle = Callable[[CommandEnvelope], Awaitable[Reply]]
_ENCODER = msgspec.json.Encoder()
_ENVELOPES = msgspec.json.Decoder(CommandEnvelope)
_REPLIES = msgspec.json.Decoder(Reply)


class Pending:
    """A command that waits for its reply."""

    def __init__(self, subject: str, payload: bytes, on_reply: Callable[[], None] | None = None) -> None:
        self.subject, self.payload = subject, payload
        self.done = anyio.Event()
        self.reply = Reply()
        self._on_reply = on_reply

    def finish(self, reply: Reply) -> None:
        """The reply is there."""
        self.reply = reply
        self.done.set()
        if self._on_reply is not None:
            self._on_reply()


class Asked(Generic[Answer]):
    """A command that is under way; `close` it when its answer is of no interest any more."""

    def __init__(self, pending: Pending, answer_type: type[Answer], forget: Callable[[], None]) -> None:
        self._pending, self._answer_type, self._forget = pending, answer_type, forget

    def close(self) -> None:
        """Its answer is of no interest any more; twice is fine."""
        self._forget()

    async def answer(self) -> tuple[Answer, int]:
        """The answer and the log position at which it holds. Raises the handler's error by its kind."""
        await self._pending.done.wait()
        reply = self._pending.reply
        if reply.failure is not None:
            kind = KINDS.get(reply.failure.kind, SystemFailure)
            raise kind(reply.failure.message, recorded=reply.failure.recorded)
        return msgspec.json.decode(reply.answer, type=self._answer_type), reply.sequence


class Bus:
    """The daemon's own connection to the command bus, for asking and for answering.

    Delivery is at least once: after a reconnection, and every RESEND_S, unanswered commands are sent again; the
    dispatcher makes that once.
    """

    def __init__(self, host: str) -> None:
        self._prefix = f"shiplog.{host}"
        self._inbox = f"{self._prefix}.reply.{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        self._pending: dict[str, Pending] = {}
        self._client = Client()
        self._reconnected = anyio.Event()
        self._stack = AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._answering: set[str] = set()  # inboxes of the commands that run here
        self._idle = anyio.Event()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        try:
            await self._stack.__aexit__(None, None, None)
        finally:  # a cancelled owner closes the connection too
            self._give_up()
            with anyio.move_on_after(CLOSE_S, shield=True):
                await self._client.close()

    def _give_up(self) -> None:
        """A reconnection that is under way doesn't heed `close`, and would keep the event loop from ending."""
        self._client.options["allow_reconnect"] = False
        self._client.options["max_reconnect_attempts"] = 1

    async def connect(self, url: str, token: str) -> None:
        """Connect, and stay connected over restarts of the server on the same port."""
        await self._client.connect(
            url,
            token=token,
            name="shiplogd",
            reconnect_time_wait=0.05,  # type: ignore[arg-type]  # seconds; a fraction works, the annotation is too narrow
            max_reconnect_attempts=-1,
            pending_size=PENDING_BYTES,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnected,
        )
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
        self._owner.start_soon(self._resend)

    def move(self, url: str) -> None:
        """The server came back on another port."""
        self._client.set_server_pool([url])

    async def serve(self, handle: Handle) -> None:
        """Answer commands with `handle`, each in a task of its own."""

        async def answer(message: Msg) -> None:
            if message.reply not in self._answering:  # else sent again while it still runs
                self._answering.add(message.reply)
                self._owner.start_soon(self._answer, handle, message)

        await self._client.subscribe(f"{self._prefix}.cmd.>", cb=answer)
        await self._client.flush()

    async def send(self, command: Command[Answer], *, command_id: str, cause: Cause, deadline_ns: int = 0) -> Answer:
        """Have a command carried out. Raises the handler's error by its kind."""
        answer, _ = await self.request(command, command_id=command_id, cause=cause, deadline_ns=deadline_ns)
        return answer

    async def request(
        self, command: Command[Answer], *, command_id: str, cause: Cause, deadline_ns: int = 0
    ) -> tuple[Answer, int]:
        """Like `send`; also tells the log position at which the answer holds."""
        asked = await self.begin(command, command_id=command_id, cause=cause, deadline_ns=deadline_ns)
        try:
            return await asked.answer()
        finally:
            asked.close()

    async def begin(
        self,
        command: Command[Answer],
        *,
        command_id: str,
        cause: Cause,
        deadline_ns: int = 0,
        on_reply: Callable[[], None] | None = None,
    ) -> Asked[Answer]:
        """Have a command carried out, and hear of it later. `on_reply` is called when the answer is there."""
        envelope = CommandEnvelope(
            id=command_id,
            type=command.TYPE,
            data=msgspec.Raw(_ENCODER.encode(command)),
            actor=cause.actor,
            correlation_id=cause.correlation_id,
            causation=cause.causation,
            deadline_ns=deadline_ns,
        )
        payload = _ENCODER.encode(envelope)
        if len(payload) > MAXIMUM_COMMAND_BYTES:
            raise InvalidParameter(f"the request is too large: {len(payload)} of {MAXIMUM_COMMAND_BYTES} bytes")
        inbox = f"{self._inbox}.{next(self._numbers)}"
        pending = self._pending[inbox] = Pending(f"{self._prefix}.cmd.{command.TYPE}", payload, on_reply)

        def forget() -> None:
            self._pending.pop(inbox, None)

        try:
            await self._publish(inbox, pending)
        except BaseException:
            forget()
            raise
        return Asked(pending, answer_type(type(command)), forget)

    async def _publish(self, inbox: str, pending: Pending) -> None:
        try:
            await self._client.publish(pending.subject, pending.payload, reply=inbox)
        except nats.errors.Error as error:
            raise Unavailable(f"the command bus is not available: {error}") from error

    async def idle(self, timeout_s: float) -> bool:
        """Wait until no command runs; False when some still do after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            while self._answering:
                self._idle = anyio.Event()
                await self._idle.wait()
        return not self._answering

    async def _answer(self, handle: Handle, message: Msg) -> None:
        try:
            await self._run(handle, message)
        finally:
            self._answering.discard(message.reply)
            self._idle.set()

    async def _run(self, handle: Handle, message: Msg) -> None:
        try:
            envelope = _ENVELOPES.decode(message.data)
        except msgspec.DecodeError as error:
            LOGGER.warning("not a command on %s: %s", message.subject, error)
            return
        reply = _ENCODER.encode(await handle(envelope))
        if len(reply) > MAXIMUM_COMMAND_BYTES:
            failure = Failure(kind=SystemFailure.kind, message=f"the answer to {envelope.type} is too large to be sent")
            reply = _ENCODER.encode(Reply(failure=failure))
        if message.reply:
            await self._client.publish(message.reply, reply)

    async def _on_reply(self, message: Msg) -> None:
        pending = self._pending.get(message.subject)
        if pending is None:
            return  # an answer to a repeat that was answered before
        try:
            reply = _REPLIES.decode(message.data)
        except msgspec.DecodeError:
            LOGGER.exception("not a reply on %s", message.subject)
            return
        pending.finish(reply)

    async def _resend(self) -> None:
        while True:
            with anyio.move_on_after(RESEND_S):
                await self._reconnected.wait()
                self._reconnected = anyio.Event()
            if self._client.is_connected:
                await self._resend_all()

    async def _resend_all(self) -> None:
        for inbox, pending in list(self._pending.items()):
            try:
                await self._publish(inbox, pending)
            except Unavailable as error:
                LOGGER.warning("a command waits for the next try: %s", error)
                return

    async def _on_reconnected(self) -> None:
        LOGGER.info("connected to the command bus again")
        self._reconnected.set()

    async def _on_error(self, error: Exception) -> None:
        LOGGER.warning("command bus: %s", error)

    @property
    def _owner(self) -> anyio.abc.TaskGroup:
        if self._tasks is None:
            raise Unavailable("the command bus is not open")
        return self._tasks
