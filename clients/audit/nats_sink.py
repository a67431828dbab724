"""Events on a NATS subject that a JetStream stream keeps; the stream's last message there is the position."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import Header

from clients.audit.cloudevents import position_of_id
from clients.audit.formats import Format
from clients.errors import SinkFailed, Unusable
from clients.subscribe.position import Position
from events.lines import Line

ANSWER_S: Final = 10.0
CONNECT_S: Final = 5
BATCH_EVENTS: Final = 256


class NatsSink:
    """Publishes each event under the id `<log>-<sequence>`; `write` returns when all are acknowledged."""

    def __init__(self, stream: JetStreamContext, name: str, subject: str, form: Format) -> None:
        self._stream, self._name = stream, name
        self._subject, self._format = subject, form

    async def position(self) -> Position | None:
        """See `Sink`."""
        try:
            message = await self._stream.get_last_msg(self._name, self._subject)
        except nats.js.errors.NotFoundError:
            return None
        try:
            return position_of_id((message.headers or {}).get(Header.MSG_ID.value, ""))
        except ValueError as error:
            raise Unusable(f"the last message on {self._subject} is no event: choose another subject") from error

    async def write(self, lines: Sequence[Line]) -> None:
        """See `Sink`."""
        for start in range(0, len(lines), BATCH_EVENTS):
            try:
                await self._publish(lines[start : start + BATCH_EVENTS])
            except (nats.errors.Error, TimeoutError, OSError) as error:
                raise SinkFailed(
                    f"{self._subject} isn't taken by its stream ({str(error) or type(error).__name__}): see to "
                    "that and go on, the position is kept"
                ) from error

    async def _publish(self, lines: Sequence[Line]) -> None:
        """In order on one connection, acknowledged together."""
        sent = []
        for line in lines:
            headers = {Header.MSG_ID.value: f"{line.log}-{line.sequence}", "Content-Type": self._format.content_type}
            sent.append(await self._stream.publish_async(self._subject, self._format.encode(line), headers=headers))
        with anyio.fail_after(ANSWER_S):
            for acknowledged in sent:
                await acknowledged


@asynccontextmanager
async def nats_sink(servers: Sequence[str], subject: str, form: Format) -> AsyncIterator[NatsSink]:
    """Connect and find the stream that keeps the subject. Raises SinkFailed."""
    client = Client()

    async def quiet(error: Exception) -> None:
        del error

    try:
        await client.connect(
            list(servers), allow_reconnect=False, max_reconnect_attempts=1, connect_timeout=CONNECT_S, error_cb=quiet
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise SinkFailed(
            f"no NATS server answers at the given addresses ({error}): start one, or correct them"
        ) from error
    try:
        stream = client.jetstream(timeout=ANSWER_S)
        try:
            name = await stream.find_stream_name_by_subject(subject)
        except (nats.errors.Error, TimeoutError) as error:
            raise SinkFailed(
                f"no JetStream stream keeps the subject {subject} ({error}): make one, or nobody would remember it"
            ) from error
        yield NatsSink(stream, name, subject, form)
    finally:
        with anyio.move_on_after(CONNECT_S, shield=True):
            await client.close()
