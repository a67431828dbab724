"""Takes the log off this machine, to a JetStream stream, each event exactly once; without it the log would die with it.

A message's id is the log's id and the event's sequence, and each publish expects its predecessor to be the stream's
last message: what comes twice, too late or out of turn is refused by the server. The position is the stream's last
message, read at the start of every session, so that no outage is too long for it. Sources:
https://docs.nats.io/nats-concepts/jetstream/headers and the server's `processJetStreamMsg`.
"""

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import anyio
import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig, StreamInfo

from daemon.feed import Feed
from events.errors import EngineError, first_error
from events.lines import Line, read_line

LOGGER = logging.getLogger(__name__)

WINDOW_EVENTS: Final = 512  # published and not yet acknowledged
WINDOW_BYTES: Final = 8 * 1024 * 1024
CONNECT_S: Final = 5.0
API_S: Final = 3.0  # a cluster without a leader says nothing: better asked again soon
ACK_S: Final = 5.0  # without any progress
CLOSE_S: Final = 2.0
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # between sessions; the last one from then on
REPLICAS: Final = 3
# A server that was restarted knows its last message's id only as long as the duplicate window (2 min): after a pause
# the stream's sequence, which it always knows, is expected instead.
IDLE_S: Final = 30.0
_SEARCHED_MESSAGES: Final = 1000
_NOT_CLUSTERED: Final = 10074  # JSStreamReplicasNotSupportedErr
_RESERVED = re.compile(r"[^A-Za-z0-9_:@+=~-]")
_FAILURES = (EngineError, nats.errors.Error, OSError, TimeoutError, ValueError)


class RelayStuck(EngineError):
    """The stream can't take the log as things are; somebody has to do something."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the relay stands."""

    stream: str
    relayed: int  # sequence of the last event that the stream has acknowledged
    connected: bool
    problem: str = ""


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stream stands: its own last sequence, and the last event of our log in it."""

    stream_sequence: int
    event: int


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record makes its subject."""

    stream: str
    type: str


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    """Why a publish was refused."""

    description: str = "refused"


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A server's answer to a publish; `seq` is the stream's own sequence."""

    seq: int = 0
    error: _Error | None = None


_heads = msgspec.json.Decoder(_Head)
_answers = msgspec.json.Decoder(_Answer)
_NOBODY: Final = _Answer(error=_Error(description="no stream takes the log's events"))


def token(text: str) -> str:
    """A text as one token of a subject: what has a meaning there is spelled as %XX."""
    return _RESERVED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text) or "%"


def message_id(log_id: str, sequence: int) -> str:
    """Names an event wherever it goes."""
    return f"{log_id}-{sequence}"


class Relay:
    """Publishes the log's lines (`events/lines.py`) on `shiplog.<host>.evt.<kind>.<id>.<type>`."""

    def __init__(self, feed: Feed, servers: Sequence[str], host: str) -> None:
        """`servers` are addresses of one server or cluster, credentials included."""
        self._feed = feed
        self._servers = list(servers)
        self._prefix = f"shiplog.{token(host)}.evt"
        self.stream = f"shiplog-{token(host).replace('%', '_')}"
        self._relayed = 0
        self._connected = False
        self._problem = ""

    def status(self) -> Status:
        """How it stands now."""
        return Status(stream=self.stream, relayed=self._relayed, connected=self._connected, problem=self._problem)

    async def run(self) -> None:
        """Relay until cancelled: session after session, for as long as it takes."""
        attempt = 0
        while True:
            before = self._relayed
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001  # whatever it is: it is told, and the engine goes on without
                self._note(first_error(error))
            self._connected = False
            attempt = 0 if self._relayed != before else attempt + 1
            await anyio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])

    def _note(self, error: BaseException) -> None:
        """Tell once of what goes on; what is unforeseen is told in full, and tried again all the same."""
        problem = str(error) or type(error).__name__
        if problem != self._problem:
            unforeseen = None if isinstance(error, _FAILURES) else error
            text = "the relay to %s waits at event %d: %s"
            LOGGER.warning(text, self.stream, self._relayed, problem, exc_info=unforeseen)
        self._problem = problem

    async def _session(self) -> None:
        """One connection, from the stream's last message on until something goes wrong."""
        client, lost = Client(), anyio.Event()

        async def on_closed() -> None:
            lost.set()

        async def on_error(error: Exception) -> None:
            LOGGER.debug("relay: %s", error)

        try:
            with anyio.fail_after(CONNECT_S):
                await client.connect(
                    self._servers,
                    name="shiplogd relay",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=int(CONNECT_S),
                    closed_cb=on_closed,
                    error_cb=on_error,
                )
            place = await self._place(client.jetstream(timeout=API_S))
            self._begin(place)
            await self._publish(client, place, lost)
        finally:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await client.close()

    def _begin(self, place: _Place) -> None:
        if place.event > self._feed.head:
            raise RelayStuck(
                f"the stream {self.stream} has event {place.event} of this log, which ends with event "
                f"{self._feed.head}: the log has lost its end; repair it, which gives it a new id"
            )
        if self._problem or not self._connected:
            LOGGER.info("relaying to %s from event %d on", self.stream, place.event + 1)
        self._connected, self._problem, self._relayed = True, "", place.event

    async def _place(self, stream: JetStreamContext) -> _Place:
        last = (await self._ensure(stream)).state.last_seq
        return _Place(stream_sequence=last, event=await self._last_event(stream, last))

    async def _ensure(self, stream: JetStreamContext) -> StreamInfo:
        """The stream; in a cluster with three replicas. Nobody is to delete single messages from it, or all."""
        try:
            return await stream.stream_info(self.stream)
        except nats.js.errors.NotFoundError:
            LOGGER.info("making the stream %s", self.stream)
        configuration = StreamConfig(
            name=self.stream,
            subjects=[f"{self._prefix}.>"],
            storage=StorageType.FILE,
            num_replicas=REPLICAS,
            deny_delete=True,
            deny_purge=True,
        )
        try:
            return await stream.add_stream(configuration)
        except nats.js.errors.APIError as error:
            if error.err_code != _NOT_CLUSTERED:
                raise
            return await stream.add_stream(configuration.evolve(num_replicas=1))

    async def _last_event(self, stream: JetStreamContext, last: int) -> int:
        """The last event of this log in the stream, others' messages behind it left out; 0 when there is none."""
        for sequence in range(last, max(0, last - _SEARCHED_MESSAGES), -1):
            try:
                message = await stream.get_msg(self.stream, seq=sequence)
            except nats.js.errors.NotFoundError:
                continue
            log_id, _, number = (message.headers or {}).get(Header.MSG_ID.value, "").rpartition("-")
            if log_id and number.isdecimal():
                if log_id == self._feed.log_id:
                    return int(number)
                LOGGER.warning("the stream %s ends with an event of the log %s: ours follows it", self.stream, log_id)
                return 0
        if last:
            raise RelayStuck(f"the stream {self.stream} ends with messages that are no events: remove them, or it")
        return 0

    async def _publish(self, client: Client, place: _Place, lost: anyio.Event) -> None:
        flight = _Flight(place)
        inbox = client.new_inbox()
        await client.subscribe(f"{inbox}.*", cb=flight.on_ack)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flight.watch, self._acknowledged)
            tasks.start_soon(_raise_when_lost, lost)
            after = place.event
            while True:
                chunk, last = await self._feed.after(after)
                for line in _lines(chunk):
                    await flight.room(len(line[0]))
                    await self._send(client, line, inbox, flight)
                after = last

    def _acknowledged(self, sequence: int) -> None:
        self._relayed = sequence

    async def _send(self, client: Client, line: tuple[bytes, Line], inbox: str, flight: "_Flight") -> None:
        payload, event = line
        head = _heads.decode(event.record)
        kind, _, name = head.stream.partition("/")
        subject = f"{self._prefix}.{token(kind)}.{token(name)}.{token(head.type.partition('.')[2])}"
        headers = {Header.MSG_ID.value: message_id(event.log, event.sequence)} | flight.expectation(event.log)
        try:
            await client.publish(subject, payload, reply=f"{inbox}.{event.sequence}", headers=headers)
        except nats.errors.MaxPayloadError:
            await flight.landed()
            raise RelayStuck(
                f"event {event.sequence} has {len(payload)} bytes, the NATS server takes {client.max_payload}: raise "
                "its max_payload (9MB takes every event)"
            ) from None
        flight.sent(event.sequence, len(payload))


def _lines(chunk: bytes) -> Iterator[tuple[bytes, Line]]:
    for line in chunk.splitlines():
        yield line, read_line(line)


async def _raise_when_lost(lost: anyio.Event) -> None:
    await lost.wait()
    raise nats.errors.ConnectionClosedError


class _Flight:
    """What is on its way. An acknowledged event's predecessors are in the stream: each was expected by the next."""

    def __init__(self, place: _Place) -> None:
        self._stream_sequence = place.stream_sequence
        self._acknowledged = self._sent = place.event
        self._waiting: deque[tuple[int, int]] = deque()  # sequence and bytes of each, in order
        self._bytes = 0
        self._last_ack = -float("inf")  # the first one of a session expects the stream's sequence
        self._changed = anyio.Event()
        self._failure: Exception | None = None

    def expectation(self, log_id: str) -> dict[str, str]:
        """What the next publish expects of the stream."""
        idle = self._sent == self._acknowledged and anyio.current_time() - self._last_ack > IDLE_S
        if idle:
            return {Header.EXPECTED_LAST_SEQUENCE.value: str(self._stream_sequence)}
        return {Header.EXPECTED_LAST_MSG_ID.value: message_id(log_id, self._sent)}

    def sent(self, sequence: int, size_bytes: int) -> None:
        """It is on its way."""
        self._sent = sequence
        self._waiting.append((sequence, size_bytes))
        self._bytes += size_bytes

    async def room(self, size_bytes: int) -> None:
        """Wait until more may be sent; the first one of a session, or after a pause, goes alone."""
        while self._waiting and (
            len(self._waiting) >= WINDOW_EVENTS
            or self._bytes + size_bytes > WINDOW_BYTES
            or anyio.current_time() - self._last_ack > IDLE_S
        ):
            await self._changed.wait()

    async def landed(self) -> None:
        """Wait until nothing is on its way."""
        while self._waiting:
            await self._changed.wait()

    async def on_ack(self, message: Msg) -> None:
        """The server's answer to a publish."""
        answer = _answers.decode(message.data) if message.data else _NOBODY
        sequence = int(message.subject.rpartition(".")[2])
        if answer.error is not None:
            self._failure = RelayStuck(f"event {sequence} was refused by the stream: {answer.error.description}")
        else:
            self._take(sequence, answer.seq)
        self._changed.set()
        self._changed = anyio.Event()

    def _take(self, sequence: int, stream_sequence: int) -> None:
        self._stream_sequence = max(self._stream_sequence, stream_sequence)
        self._acknowledged = max(self._acknowledged, sequence)
        self._last_ack = anyio.current_time()
        while self._waiting and self._waiting[0][0] <= sequence:
            self._bytes -= self._waiting.popleft()[1]

    async def watch(self, acknowledged: Callable[[int], None]) -> None:
        """Tell of progress. Raises what the server refused with, or TimeoutError when it is silent."""
        while True:
            changed, waiting = self._changed, bool(self._waiting)
            with anyio.move_on_after(ACK_S) as silence:
                await changed.wait()
            if self._failure is not None:
                raise self._failure
            if silence.cancelled_caught and waiting and self._waiting:
                raise TimeoutError("the NATS server doesn't acknowledge what it is sent")
            acknowledged(self._acknowledged)
