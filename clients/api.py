"""An asynchronous client of the engine's API; without it whoever has no docker CLI would have to speak HTTP by hand."""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

import anyio
import anyio.abc
import h11
import msgspec
from anyio.streams.stapled import StapledByteStream

DEFAULT_HOST = "unix:///run/shiplog/shiplog.sock"
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 600.0  # until an answer's head: a command may take long
CHUNK_BYTES = 256 * 1024  # as much as a socket holds: whoever reads much wakes less often
CONTINUE, FAILED = 100, 400  # RFC 9110, 15

Answer = TypeVar("Answer")
Query = Mapping[str, str | int | bool]
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


class ApiError(Exception):
    """The engine refused or failed; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class EngineUnreachable(Exception):
    """Nobody answers, or not in HTTP."""


class _Message(msgspec.Struct, frozen=True):
    """The body of an error."""

    message: str = ""


class Client:
    """Speaks to `unix://PATH`, `tcp://HOST:PORT` (with TLS if given) or `ssh://HOST`; a connection for every request.

    `always` goes along with the query of every request.
    """

    def __init__(
        self, host: str = DEFAULT_HOST, *, tls: ssl.SSLContext | None = None, always: Query | None = None
    ) -> None:
        self._host, self._tls, self._always = host, tls, always or {}

    @property
    def host(self) -> str:
        """Where the engine is."""
        return self._host

    async def get(self, path: str, answer: type[Answer], query: Query | None = None) -> Answer:
        """The JSON of an answer, as a type that msgspec knows. Raises ApiError, EngineUnreachable."""
        async with self.stream("GET", path, query) as chunks:
            return await decode(chunks, answer)

    async def post(
        self,
        path: str,
        answer: type[Answer],
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send JSON (None: no body) and return the answer's. Raises as `get`."""
        async with self.stream("POST", path, query, body=body, headers=headers) as chunks:
            return await decode(chunks, answer)

    async def delete(self, path: str, answer: type[Answer], query: Query | None = None) -> Answer:
        """DELETE, and the answer's JSON. Raises as `get`."""
        async with self.stream("DELETE", path, query) as chunks:
            return await decode(chunks, answer)

    async def act(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object = None,
        upload: AsyncIterator[bytes] | None = None,
    ) -> None:
        """Ask for something that has no answer but success. Raises as `get`."""
        async with self.stream(method, path, query, body=body, upload=upload) as chunks:
            async for _ in chunks:
                pass

    async def head(self, path: str, query: Query | None = None) -> Mapping[str, str]:
        """The headers of an answer, their names in lower case. Raises as `get`."""
        async with self.stream("HEAD", path, query) as answer:
            return answer.headers

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object = None,
        file: Path | None = None,
        upload: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator["Body"]:
        """Enters once the answer's head is there; yields its body as it comes.

        The request's body is JSON, a file, or what `upload` gives.
        """
        content = upload or (_file_chunks(file) if file is not None else None)
        async with self._connection() as connection:
            await connection.send_request(method, self._target(method, path, query), body, content, headers or {})
            yield Body(connection, await connection.read_head())

    @asynccontextmanager
    async def attach(self, path: str, query: Query | None = None, body: object = None) -> AsyncIterator["Attached"]:
        """POST and take the connection over as raw bytes in both directions."""
        async with self._connection() as connection:
            target = self._target("POST", path, query)
            await connection.send_request("POST", target, body, None, _UPGRADE)
            yield Attached(connection.stream, await connection.read_upgrade())

    def _target(self, method: str, path: str, query: Query | None) -> str:
        pairs = {**self._always, **(query or {})}
        words = {key: str(value).lower() if isinstance(value, bool) else value for key, value in pairs.items()}
        return f"{path}{'&' if '?' in path else '?'}{urlencode(words)}" if words else path

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["_Connection"]:
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                stream = await _connect(self._host, self._tls)
        except PermissionError as error:
            raise EngineUnreachable(
                f"permission denied at {self._host}: use sudo, or join the group that the socket belongs to"
            ) from error
        except ssl.SSLError as error:
            raise EngineUnreachable(_distrust(self._host, error.reason or str(error))) from error
        except (OSError, TimeoutError) as error:
            raise EngineUnreachable(f"cannot connect to the engine at {self._host}: is shiplogd running?") from error
        async with stream:
            connection = _Connection(stream)
            try:
                yield connection
            except ssl.SSLError as error:
                raise EngineUnreachable(_distrust(self._host, error.reason or str(error))) from error
            except (h11.RemoteProtocolError, anyio.BrokenResourceError, TimeoutError) as error:
                if self._tls is not None and not connection.is_answered:  # TLS 1.3 refuses after the handshake
                    raise EngineUnreachable(_distrust(self._host, "it closed the connection")) from error
                raise EngineUnreachable(f"the engine at {self._host} went away: {error}") from error


class Body:
    """An answer's body as it comes, and its headers, their names in lower case."""

    def __init__(self, connection: "_Connection", headers: Mapping[str, str]) -> None:
        self._connection, self.headers = connection, headers

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.body()


class Attached:
    """A taken-over connection; `early` are bytes that came with the answer's head."""

    def __init__(self, stream: anyio.abc.ByteStream, early: bytes) -> None:
        self._stream, self._early = stream, early

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the engine sends, until it closes its side."""
        if self._early:
            yield self._early
        while True:
            try:
                yield await self._stream.receive(CHUNK_BYTES)
            except anyio.EndOfStream:
                return

    async def send(self, data: bytes) -> None:
        """To the container's stdin."""
        await self._stream.send(data)

    async def send_eof(self) -> None:
        """The container's stdin ends."""
        await self._stream.send_eof()


class _Connection:
    """One request and its answer."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self._protocol = h11.Connection(h11.CLIENT)
        self.is_answered = False  # an answer has begun

    async def send_request(
        self,
        method: str,
        target: str,
        body: object,
        upload: AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> None:
        """Head and body; an upload goes in chunks."""
        content = msgspec.json.encode(body) if body is not None else b""
        words = {"Host": "shiplog", "User-Agent": "shiplog", **headers}
        if body is not None:
            words["Content-Type"] = "application/json"
        if upload is not None:
            words |= {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        else:
            words["Content-Length"] = str(len(content))
        await self._send(h11.Request(method=method, target=target, headers=list(words.items())))
        if upload is not None:
            async for chunk in upload:
                await self._send(h11.Data(data=chunk))
        if content:
            await self._send(h11.Data(data=content))
        await self._send(h11.EndOfMessage())

    async def read_head(self) -> dict[str, str]:
        """The headers. Raises ApiError for anything but success."""
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise EngineUnreachable("the engine closed the connection without an answer")
        if event.status_code >= FAILED:
            raise await self._error(event.status_code)
        return {name.decode().lower(): value.decode() for name, value in event.headers}

    async def read_upgrade(self) -> bytes:
        """As `read_head` for a takeover; returns what came after the head."""
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            event = await self._next()
        if isinstance(event, h11.Response) and event.status_code >= FAILED:
            raise await self._error(event.status_code)
        if not isinstance(event, h11.InformationalResponse):
            raise EngineUnreachable("the engine didn't hand the connection over")
        return bytes(self._protocol.trailing_data[0])

    async def body(self) -> AsyncIterator[bytes]:
        """The answer's body as it comes."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def _error(self, status: int) -> ApiError:
        content = b"".join([chunk async for chunk in self.body()])
        try:
            message = msgspec.json.decode(content, type=_Message).message
        except msgspec.DecodeError:
            message = content.decode(errors="replace")
        return ApiError(status, message.strip() or f"HTTP status {status}")

    async def _send(self, event: h11.Event) -> None:
        data = self._protocol.send(event)
        if data:
            await self.stream.send(data)

    async def _next(self) -> h11.Event:
        while True:
            event = self._protocol.next_event()
            if isinstance(event, h11.InformationalResponse) and event.status_code == CONTINUE:
                continue
            if isinstance(event, h11.Event):
                self.is_answered = True
                return event
            if event is h11.PAUSED:
                raise EngineUnreachable("the engine switched protocols without being asked to")
            self._protocol.receive_data(await self._receive())

    async def _receive(self) -> bytes:
        try:
            return await self.stream.receive(CHUNK_BYTES)
        except anyio.EndOfStream:
            return b""


async def _connect(host: str, tls: ssl.SSLContext | None) -> anyio.abc.ByteStream:
    parts = urlsplit(host)
    if parts.scheme == "unix":
        return await anyio.connect_unix(parts.path)
    if parts.scheme == "tcp" and parts.hostname and parts.port:
        if tls is None:
            return await anyio.connect_tcp(parts.hostname, parts.port)
        return await anyio.connect_tcp(parts.hostname, parts.port, ssl_context=tls, tls_standard_compatible=False)
    if parts.scheme == "ssh" and parts.hostname:
        return await _connect_over_ssh(parts)
    raise EngineUnreachable(f"{host} is neither unix://PATH nor tcp://HOST:PORT nor ssh://[USER@]HOST[:PORT]")


async def _connect_over_ssh(parts: SplitResult) -> anyio.abc.ByteStream:
    """As docker's CLI does it: the CLI at the other end joins its standard streams with its engine."""
    user, port = ("-l", parts.username) if parts.username else (), ("-p", str(parts.port)) if parts.port else ()
    command = ["ssh", *user, *port, "--", parts.hostname or "", "docker", "system", "dial-stdio"]
    process = await anyio.open_process(command, stderr=None)
    assert process.stdin is not None
    assert process.stdout is not None
    return StapledByteStream(process.stdin, process.stdout)


def _distrust(host: str, reason: str) -> str:
    return (
        f"no trusted connection to the engine at {host} ({reason}): check --tlscacert, --tlscert and --tlskey, or the "
        "files in DOCKER_CERT_PATH"
    )


async def _file_chunks(file: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(file, "rb") as opened:
        while chunk := await opened.read(CHUNK_BYTES):
            yield chunk


async def decode(chunks: AsyncIterable[bytes], answer: type[Answer]) -> Answer:
    """A whole body as a type. Raises EngineUnreachable for one that isn't."""
    content = b"".join([chunk async for chunk in chunks])
    try:
        return msgspec.json.decode(content, type=answer)
    except msgspec.DecodeError as error:
        raise EngineUnreachable(f"the engine's answer can't be read: {error}") from error
