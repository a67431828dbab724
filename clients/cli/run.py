"""`shiplog run`: create, attach, start, pass everything on, end as the container ended."""

import signal
import sys
from collections.abc import AsyncIterator
from typing import BinaryIO

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from clients.api import ApiError, Attached, Client, EngineUnreachable, decode
from clients.cli.answers import Created, Ended
from clients.cli.output import STDERR, Demultiplexer

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


ENGINE_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # exit codes of `docker run`, and of shells
_START_CODES = (
    ("no such file or directory", NOT_FOUND),
    ("executable file not found", NOT_FOUND),
    ("permission denied", NOT_EXECUTABLE),
    ("is a directory", NOT_EXECUTABLE),
)


class StartFailed(ApiError):
    """The container was created and couldn't be started; `code` is what a shell would end with."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.status, error.message)
        # The API tells the reason in words alone.
        self.code = next((code for words, code in _START_CODES if words in error.message.lower()), ENGINE_FAILED)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    image: str
    command: tuple[str, ...] = ()
    name: str = ""
    remove: bool = False


async def run(client: Client, wanted: Wanted) -> int:
    """The container's exit code. Raises ApiError when it can't be created or started."""
    container = await _create(client, wanted)
    streams = {"stream": True, "stdout": True, "stderr": True}
    condition = "removed" if wanted.remove else "next-exit"
    async with (
        client.attach(f"/containers/{container}/attach", streams) as attached,
        client.stream("POST", f"/containers/{container}/wait", {"condition": condition}) as ended,
    ):
        await _start(client, container, remove=wanted.remove)
        return await _until_ended(client, container, attached, ended)


async def _until_ended(client: Client, container: str, attached: Attached, ended: AsyncIterator[bytes]) -> int:
    failures: list[Exception] = []
    codes: list[int] = []
    async with anyio.create_task_group() as group:
        await group.start(_pass_signals_on, client, container)
        try:
            await _show(attached)
            codes.append(await _exit_code(ended))
        except (ApiError, EngineUnreachable, OSError) as error:
            failures.append(error)  # raised outside, where no group wraps it
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return codes[0]


async def _create(client: Client, wanted: Wanted) -> str:
    body = {
        "Image": wanted.image,
        "Cmd": list(wanted.command) or None,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {"AutoRemove": wanted.remove, "NetworkMode": "default"},
    }
    query = {"name": wanted.name} if wanted.name else None
    created = await client.post("/containers/create", Created, query, body)
    for warning in created.warnings or ():
        sys.stderr.write(f"warning: {warning}\n")
    return created.id


async def _start(client: Client, container: str, *, remove: bool) -> None:
    try:
        await client.act("POST", f"/containers/{container}/start")
    except ApiError as error:
        if remove:
            await _remove(client, container)
        raise StartFailed(error) from error


async def _remove(client: Client, container: str) -> None:
    try:
        await client.act("DELETE", f"/containers/{container}", {"v": True, "force": True})
    except ApiError as error:
        if error.status not in (404, 409):  # gone, or going by itself
            raise


async def _show(attached: Attached) -> None:
    frames = Demultiplexer()
    async for data in attached.chunks():
        for stream, chunk in frames.feed(data):
            target = sys.stderr.buffer if stream == STDERR else sys.stdout.buffer
            await anyio.to_thread.run_sync(_write, target, chunk)


def _write(target: BinaryIO, chunk: bytes) -> None:
    target.write(chunk)
    target.flush()


async def _exit_code(ended: AsyncIterator[bytes]) -> int:
    answer = await decode(ended, Ended)
    if answer.error is not None and answer.error.message:
        raise ApiError(500, answer.error.message)
    return answer.status_code


async def _pass_signals_on(
    client: Client, container: str, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(*PASSED_ON) as signals:
        task_status.started()
        async for number in signals:
            try:
                await client.act("POST", f"/containers/{container}/kill", {"signal": number.name})
            except (ApiError, EngineUnreachable) as error:
                sys.stderr.write(f"{error}\n")  # it has just ended
