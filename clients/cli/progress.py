"""Progress of pulls, pushes and loads: bars on a terminal, lines in a pipe, and the error that ends them."""

import sys
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from importlib import import_module
from typing import Any, TextIO

import msgspec

from clients.api import ApiError, Client
from clients.cli.credentials import registry_headers
from clients.cli.listing import terminal

_SERVER_FAILED = 500


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    current: int = 0
    total: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a progress stream, as the Docker Engine API documents it."""

    status: str = ""
    id: str = ""
    stream: str = ""
    error: str = ""
    progress_detail: Detail = msgspec.field(default=Detail(), name="progressDetail")
    aux: dict[str, Any] = {}


async def show_pull(
    client: Client,
    image: str,
    platform: str = "",
    *,
    quiet: bool = False,
    out: TextIO | None = None,
    everything: bool = False,
) -> None:
    """Pull an image and show how far it is. Raises ApiError."""
    name, tag = split_reference(image)
    query: dict[str, str | int | bool] = {"fromImage": name}
    if not everything:
        query["tag"] = tag or "latest"
    if platform:
        query["platform"] = platform
    headers = registry_headers(name)
    async with client.stream("POST", "/images/create", query, headers=headers) as chunks:
        await show(chunks, out or sys.stdout, quiet=quiet)


def split_reference(image: str) -> tuple[str, str]:
    """Name and tag or digest; a colon before a slash is a port's."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        return head, tag
    return image, ""


async def messages(chunks: AsyncIterable[bytes]) -> AsyncIterator[Message]:
    """The lines of a progress stream."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield msgspec.json.decode(line, type=Message)
    if rest.strip():
        yield msgspec.json.decode(rest, type=Message)


async def show(chunks: AsyncIterable[bytes], out: TextIO, *, quiet: bool = False) -> list[Message]:
    """Print what happens; the messages that carry results come back. Raises ApiError when one tells of an error."""
    results: list[Message] = []
    screen = _Bars() if out.isatty() and not quiet else _Lines(out, quiet=quiet)
    with screen:
        async for message in messages(chunks):
            if message.error:
                raise ApiError(_SERVER_FAILED, message.error)
            if message.aux or message.stream:
                results.append(message)
            screen.tell(message)
    return results


class _Lines:
    """A line for each change; no bars, and no size that changes all the time."""

    def __init__(self, out: TextIO, *, quiet: bool) -> None:
        self._out, self._quiet = out, quiet
        self._last: dict[str, str] = {}

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def tell(self, message: Message) -> None:
        """Print it if it is news."""
        if self._quiet:
            return
        if message.stream:
            self._out.write(message.stream)
        elif message.status and self._last.get(message.id) != message.status:
            self._out.write(f"{message.id}: {message.status}\n" if message.id else f"{message.status}\n")
        if message.id:
            self._last[message.id] = message.status


class _Bars:
    """A bar for each layer."""

    def __init__(self) -> None:
        rich: Any = import_module("rich.progress")
        self._progress: Any = rich.Progress(
            rich.TextColumn("{task.fields[layer]}"),
            rich.TextColumn("{task.description}"),
            rich.BarColumn(bar_width=30),
            rich.DownloadColumn(),
            rich.TransferSpeedColumn(),
            console=terminal(),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "_Bars":
        self._progress.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self._progress.__exit__(*reason)

    def tell(self, message: Message) -> None:
        """Move a bar, or print a line above them."""
        if message.stream:
            self._progress.console.print(message.stream, end="")
        elif not message.id or not (message.progress_detail.total or message.id in self._tasks):
            self._progress.console.print(f"{message.id}: {message.status}" if message.id else message.status)
        else:
            self._move(message)

    def _move(self, message: Message) -> None:
        if message.id not in self._tasks:
            self._tasks[message.id] = self._progress.add_task(message.status, layer=message.id, total=None)
        detail = message.progress_detail
        known: Mapping[str, int] = {"total": detail.total, "completed": detail.current} if detail.total else {}
        self._progress.update(self._tasks[message.id], description=message.status, **known)
