"""Endpoints about registries: a command runs for as long as its client watches, and its progress is the answer."""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

import anyio
import msgspec

from daemon.api.answers import json_line
from daemon.api.commands import COMMAND_HEADER, command_id_of
from daemon.api.engine import Asked, Engine
from daemon.api.platforms import check_image
from daemon.http.messages import Answer, Request, StreamResponse
from daemon.http.query import text
from daemon.shapes import progress
from events import references
from events.base import Command
from events.errors import EngineError, InvalidParameter, Unavailable
from events.messages.image import Credentials, FetchImage, PullImages, PushImages
from events.projections.images import repository_of
from handlers.addresses import source_of
from handlers.progress import Exit, Following

Told = TypeVar("Told")
AUTH_HEADER: Final = "x-registry-auth"
_DIGEST: Final = re.compile(r"[a-z0-9+._-]+:[0-9a-fA-F]{32,}")


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The content of X-Registry-Auth (Docker Engine API, "Authentication"); `auth` is the pair in one."""

    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""
    serveraddress: str = ""


class ClientLeft(Unavailable):
    """Nobody is there to read the answer."""

    def __init__(self) -> None:
        super().__init__("the client is gone")


async def pull(engine: Engine, request: Request) -> Answer:
    """`POST /images/create` with `fromImage`."""
    command = PullImages(
        name=wanted_name(text(request.query, "fromImage"), text(request.query, "tag")),
        platform=text(request.query, "platform"),
        credentials=credentials(request),
    )
    return await Transfer(engine, request, command).answer()


async def fetch(engine: Engine, request: Request, source: str, reference: str) -> Answer:
    """`POST /images/create` with a URL in `fromSrc`; the image's id is the last line."""
    address = source_of(source)
    command = FetchImage(
        url=address.url,
        credentials=address.credentials,
        reference=reference,
        message=text(request.query, "message"),
        changes=tuple(request.query.get("changes", ())),
        platform=text(request.query, "platform"),
    )
    return await Transfer(engine, request, command, last=lambda imported: imported.image_id).answer()


async def push(engine: Engine, request: Request) -> Answer:
    """`POST /images/{name}/push`: a tag, or without one all tags of the repository.

    Raises OtherPlatform for an image that isn't for the `platform` (API 1.46) that was asked for.
    """
    reference = references.parse(request.parameters["name"])
    if reference.digest:
        raise InvalidParameter("cannot push a digest reference")
    tag = text(request.query, "tag") or reference.tag
    name = references.tagged(reference.name, tag) if tag else reference.name
    for image in engine.state.images:
        if any(each == name or (not tag and repository_of(each) == name) for each in image.references):
            check_image(request, image, since=(1, 46))
    return await Transfer(engine, request, PushImages(name=name, credentials=credentials(request))).answer()


def wanted_name(name: str, tag: str) -> str:
    """The canonical name of what `fromImage` and `tag` say: a tag, a digest, or neither for all tags.

    Raises InvalidReference, InvalidTag.
    """
    reference = references.parse(name)
    if not tag:
        return reference.canonical
    if _DIGEST.fullmatch(tag):
        return references.parse(f"{reference.name}@{tag}").canonical
    return references.tagged(reference.name, tag)


def credentials(request: Request) -> Credentials:
    """What X-Registry-Auth holds; as in Docker, what can't be read counts as nothing."""
    header = request.headers.get(AUTH_HEADER, "")
    try:
        content = base64.b64decode(header.rstrip("=") + "=" * (-len(header.rstrip("=")) % 4), altchars=b"-_")
        return as_credentials(msgspec.json.decode(content, type=Authorization))
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return Credentials()


def as_credentials(given: Authorization) -> Credentials:
    """A pair in one is taken apart."""
    username, password = given.username, given.password
    if not username and given.auth:
        username, _, password = base64.b64decode(given.auth).decode().partition(":")
    return Credentials(
        username=username,
        password=password,
        identity_token=given.identitytoken,
        registry_token=given.registrytoken,
    )


class Transfer(Generic[Told]):
    """A command and its progress; what fails before the first line is an error, later it is the last line."""

    def __init__(
        self, engine: Engine, request: Request, command: Command[Told], *, last: Callable[[Told], str] | None = None
    ) -> None:
        """`last`: what the last line says of the command's answer."""
        self._last = last
        self._code = 0
        self._engine, self._request, self._command = engine, request, command
        self._command_id = command_id_of(engine, request, command)

    async def answer(self) -> Answer:
        """The answer once its status is known. Raises EngineError."""
        reader = self._engine.progress.follow(self._command_id)
        asked: Asked[Told] | None = None
        try:
            asked = await self._engine.begin(
                self._request.actor, self._command, command_id=self._command_id, on_reply=reader.close
            )
            first = await self._first(reader)
            if not first:
                await self._engine.conclude(asked)
        except BaseException:
            self._leave(reader, asked)
            raise
        chunks = self._chunks(reader, asked, first)
        return StreamResponse(headers={COMMAND_HEADER: self._command_id}, chunks=chunks)

    async def _first(self, reader: Following) -> list[bytes]:
        """The first lines, or nothing when there are none before the end. Raises ClientLeft."""
        first: list[bytes] | None = None
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                await self._request.wait_disconnect()
                tasks.cancel_scope.cancel("the client is gone")

            tasks.start_soon(leave)
            first = await self._read(reader)
            tasks.cancel_scope.cancel("there is something to tell")
        if first is None:
            raise ClientLeft
        return first

    async def _chunks(self, reader: Following, asked: Asked[Told], first: list[bytes]) -> AsyncIterator[bytes]:
        """A line at a time: there are clients that take what comes at once for one."""
        try:
            lines = first
            while lines:
                for line in lines:
                    yield line
                lines = await self._read(reader)
            try:
                told = await self._engine.conclude(asked)
            except EngineError as error:
                yield json_line(progress.failure(str(error), self._code))
                return
            if self._last is not None:
                yield json_line({"status": self._last(told)})
        finally:
            self._leave(reader, asked)

    def _leave(self, reader: Following, asked: Asked[Told] | None) -> None:
        self._engine.progress.leave(self._command_id, reader)
        if asked is not None:
            asked.close()

    async def _read(self, reader: Following) -> list[bytes]:
        """Lines as they come; none at the end."""
        told: list[bytes] = []
        while not told and (lines := await reader.read()):
            self._code = next((each.code for each in lines if isinstance(each, Exit)), self._code)
            shapes = (progress.line(each) for each in lines)
            told = [json_line(shape) for shape in shapes if shape is not None]
        return told
