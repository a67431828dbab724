"""Gives a request that comes again by its `Idempotency-Key` its first answer; without it a lost answer means guessing.

The key is the caller's: another user's equal key is another one. What it was used for and the answer are in the log, on
the stream `request/<id>`. A long stream isn't kept, nor one that was broken off: the request is asked again, and its
commands, which go by ids of the key, answer as they did. Neither are failures of the engine (5xx): the same key may be
tried again.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec

from daemon.api.commands import KEY_HEADER, request_id
from daemon.api.engine import Engine, EngineEndpoint
from daemon.http.errors import BodyCutOff, BodyStalled, failure
from daemon.http.messages import Answer, Request, Response, StreamResponse
from events.envelope import Cause
from events.errors import Conflict, EngineError, InvalidParameter, NotFound, Unprocessable
from events.log import Append
from events.messages.system import RequestAnswered, RequestBegun
from events.sealed import KeyDestroyed

LOGGER = logging.getLogger(__name__)
KEPT_BODY_BYTES: Final = 64 * 1024
SWITCHED: Final = 101  # the status that stands for a connection that was taken over
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_FAILED: Final = 500
_JSON: Final = "application/json"


class KeyMalformed(InvalidParameter):
    """Too long, empty, or with characters that no key has."""

    def __init__(self) -> None:
        super().__init__("an Idempotency-Key has 1 to 255 printable ASCII characters and no space")


class KeyUsed(Unprocessable):
    """The caller has used the key for something else."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another request")


class StreamOver(Conflict):
    """The first answer was a stream, which nobody has kept."""

    def __init__(self) -> None:
        super().__init__("the answer to this Idempotency-Key was a stream, which can't be given again")


class AnswerDestroyed(NotFound):
    """The first answer could be read as long as its object was there."""

    def __init__(self) -> None:
        super().__init__("the answer to this Idempotency-Key is gone with what it was about")


class Repeats:
    """The requests with keys of one engine, each in its turn."""

    def __init__(self) -> None:
        self._turns: dict[str, tuple[anyio.Lock, int]] = {}

    def once(self, method: str, pattern: str, endpoint: EngineEndpoint) -> EngineEndpoint:
        """The endpoint, asked once for each key."""

        async def ask(engine: Engine, request: Request) -> Answer:
            if KEY_HEADER not in request.headers:
                return await endpoint(engine, request)
            if not _KEY.fullmatch(request.headers[KEY_HEADER]):
                raise KeyMalformed
            request = await _readable_again(request)
            keyed = _Keyed(engine, request, f"{method} {pattern}", await _fingerprint(request))
            async with self._turn(keyed.id):
                return await keyed.first_answer() or await keyed.ask(endpoint)

        return ask

    @asynccontextmanager
    async def _turn(self, identity: str) -> AsyncIterator[None]:
        """Who comes by the same key meanwhile waits for the answer."""
        lock, users = self._turns.get(identity, (anyio.Lock(), 0))
        self._turns[identity] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(identity)
            if users > 1:
                self._turns[identity] = lock, users - 1


class _Keyed:
    """One request by a key."""

    def __init__(self, engine: Engine, request: Request, route: str, fingerprint: str) -> None:
        self.id = request_id(request)
        self._engine, self._request = engine, request
        self._route, self._fingerprint = route, fingerprint
        self._stream = f"request/{self.id}"
        self._has_begun = False

    async def first_answer(self) -> Answer | None:
        """What the log has. Raises KeyUsed, StreamOver, AnswerDestroyed."""
        kept: RequestAnswered | None = None
        async for recorded in self._engine.log.read_stream(self._stream):
            if isinstance(recorded.event, RequestBegun):
                self._has_begun = True
                if recorded.event.fingerprint != self._fingerprint:
                    raise KeyUsed
            elif isinstance(recorded.event, RequestAnswered):
                kept = recorded.event
        if kept is None:
            return None
        return self._kept(kept)

    async def ask(self, endpoint: EngineEndpoint) -> Answer:
        """Ask, and keep the answer where that can be."""
        if not self._has_begun:
            await self._append(RequestBegun(route=self._route, fingerprint=self._fingerprint))
        try:
            answer = await endpoint(self._engine, self._request)
        except EngineError as error:
            if not isinstance(error, BodyCutOff | BodyStalled):
                await self._keep(failure(error.as_recorded()))
            raise
        if isinstance(answer, StreamResponse):
            return msgspec.structs.replace(answer, chunks=self._noted(answer))
        await self._keep(answer if isinstance(answer, Response) else Response(status=SWITCHED))
        return answer

    async def _noted(self, answer: StreamResponse) -> AsyncIterator[bytes]:
        """What a stream brings; kept when it has come to its end and isn't long."""
        body = bytearray()
        try:
            async for chunk in answer.chunks:
                body += chunk[: KEPT_BODY_BYTES + 1 - len(body)]
                yield chunk
        finally:
            if isinstance(answer.chunks, AsyncGenerator):
                await answer.chunks.aclose()
        whole = Response(
            status=answer.status, headers=answer.headers, content_type=answer.content_type, body=bytes(body)
        )
        await self._keep(whole)

    async def _keep(self, answer: Response) -> None:
        """The client has its answer even where the log doesn't take it."""
        if answer.status >= _FAILED or len(answer.body) > KEPT_BODY_BYTES:
            return
        sealed = None
        try:
            if answer.sealed_for:
                sealed = await self._engine.keyring.seal(answer.sealed_for, answer.body)
            await self._append(
                RequestAnswered(
                    status=answer.status,
                    headers=answer.headers,
                    content_type=answer.content_type,
                    body="" if sealed else answer.body.decode(),
                    sealed=sealed,
                )
            )
        except EngineError:
            LOGGER.exception("the answer to request %s could not be kept", self.id)

    async def _append(self, event: RequestBegun | RequestAnswered) -> None:
        cause = Cause(actor=self._request.actor, command_id=f"request-{self.id}", correlation_id=self.id)
        await self._engine.log.append((Append(stream=self._stream, events=(event,)),), cause=cause)

    def _kept(self, kept: RequestAnswered) -> Response:
        if kept.status == SWITCHED:
            raise StreamOver
        try:
            body = kept.body.encode() if kept.sealed is None else self._engine.keyring.open(kept.sealed)
        except KeyDestroyed:
            raise AnswerDestroyed from None
        return Response(status=kept.status, headers=kept.headers, content_type=kept.content_type, body=body)


async def _fingerprint(request: Request) -> str:
    """What tells the request from another by the same key; an archive counts by its declared length alone.

    Made with the key, which the log doesn't have: a secret in a body can't be guessed at with it.
    """
    text = msgspec.json.encode(
        (
            request.method,
            request.path,
            sorted(request.query.items()),
            request.headers.get("content-type", ""),
            request.headers.get("content-length", ""),
        )
    )
    body = await request.read() if isinstance(request, _Read) else b""
    return hmac.new(request.headers[KEY_HEADER].encode(), text + b"\0" + body, hashlib.sha256).hexdigest()


async def _readable_again(request: Request) -> Request:
    """With its JSON in memory; anything else stays on the wire."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        return request
    return _Read(request, await request.read())


class _Read:
    """A request whose body was read."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.method = request.method
        self.path = request.path
        self.parameters = request.parameters
        self.query = request.query
        self.headers = request.headers
        self.version = request.version
        self.actor = request.actor
        self.wants_upgrade = request.wants_upgrade
        self._request, self._body = request, body

    async def read(self, limit_bytes: int = 4 * 1024 * 1024) -> bytes:  # it was kept to that already
        """See `Request`."""
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `Request`."""
        yield self._body

    async def spool(self, path: Path) -> int:
        """See `Request`."""
        return await anyio.Path(path).write_bytes(self._body)

    async def wait_disconnect(self) -> None:
        """See `Request`."""
        await self._request.wait_disconnect()
