"""`run`, and what it shares with `start -a`: create, attach, start, pass everything on, end as the container ended."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import anyio
import msgspec

from clients.api import ApiError, Attached, Body, Client, EngineUnreachable, decode
from clients.cli.answers import Created, Ended
from clients.cli.app import ENGINE_FAILED, Failed, text_of
from clients.cli.progress import show_pull
from clients.cli.streams import join, pass_signals_on

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit codes of `docker run`, and of shells
_START_CODES = (
    ("no such file or directory", NOT_FOUND),
    ("executable file not found", NOT_FOUND),
    ("permission denied", NOT_EXECUTABLE),
    ("is a directory", NOT_EXECUTABLE),
)
_ABSENT = 404


class StartFailed(ApiError):
    """The container was created and couldn't be started; `code` is what a shell would end with."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.status, error.message)
        # The API tells the reason in words alone.
        self.code = next((code for words, code in _START_CODES if words in error.message.lower()), ENGINE_FAILED)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A container to make."""

    body: dict[str, Any]  # of `POST /containers/create`
    name: str = ""
    platform: str = ""
    pull: str = "missing"  # always, missing, never
    quiet: bool = False
    identity_file: str = ""  # where its id is written; "" for nowhere


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Which streams are joined to this terminal."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    terminal: bool = False
    detach_keys: str = ""
    passes_signals: bool = True

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.stdin or self.stdout or self.stderr

    def query(self) -> dict[str, str | int | bool]:
        """Of an attach."""
        query: dict[str, str | int | bool] = {
            "stream": True,
            "stdin": self.stdin,
            "stdout": self.stdout,
            "stderr": self.stderr,
        }
        return query | ({"detachKeys": self.detach_keys} if self.detach_keys else {})


async def create(client: Client, wanted: Wanted) -> str:
    """The new container's id; the image is pulled where that is wanted. Raises ApiError, Failed."""
    if wanted.identity_file and Path(wanted.identity_file).exists():
        raise Failed(
            f"container ID file found, make sure the other container isn't running or delete {wanted.identity_file}",
            ENGINE_FAILED,
        )
    if wanted.pull == "always":
        await _pull(client, wanted)
    try:
        created = await _post(client, wanted)
    except ApiError as error:
        if error.status != _ABSENT or "No such image" not in error.message or wanted.pull != "missing":
            raise
        if not wanted.quiet:
            sys.stderr.write(f"Unable to find image '{wanted.body['Image']}' locally\n")
        await _pull(client, wanted)
        created = await _post(client, wanted)
    for warning in created.warnings or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    if wanted.identity_file:
        Path(wanted.identity_file).write_text(created.id)
    return created.id


async def _post(client: Client, wanted: Wanted) -> Created:
    query: dict[str, str | int | bool] = {}
    if wanted.name:
        query["name"] = wanted.name
    if wanted.platform:
        query["platform"] = wanted.platform
    return await client.post("/containers/create", Created, query, wanted.body)


async def _pull(client: Client, wanted: Wanted) -> None:
    await show_pull(client, wanted.body["Image"], wanted.platform, quiet=wanted.quiet, out=sys.stderr)


async def run(client: Client, wanted: Wanted, streams: Streams, *, detach: bool, remove: bool) -> int:
    """The container's exit code. Raises Failed with the code of a container that didn't start."""
    try:
        container = await create(client, wanted)
        if detach:
            await start(client, container)
            sys.stdout.write(f"{container}\n")
            return 0
        return await run_attached(client, container, streams, remove=remove)
    except StartFailed as error:
        raise Failed(f"shiplog: {text_of(error)}", error.code) from error
    except (ApiError, EngineUnreachable) as error:
        raise Failed(f"shiplog: {text_of(error)}", ENGINE_FAILED) from error


async def run_attached(client: Client, container: str, streams: Streams, *, remove: bool) -> int:
    """Attach, start, and stay until the end; its exit code. Raises ApiError."""
    condition = "removed" if remove else "next-exit"
    async with (
        _attached(client, container, streams) as attached,
        client.stream("POST", f"/containers/{container}/wait", {"condition": condition}) as ended,
    ):
        await start(client, container, remove=remove)
        return await _until_ended(client, container, attached, ended, streams)


def _attached(
    client: Client, container: str, streams: Streams
) -> contextlib.AbstractAsyncContextManager[Attached | None]:
    return (
        client.attach(f"/containers/{container}/attach", streams.query()) if streams.any else contextlib.nullcontext()
    )


async def start(client: Client, container: str, *, remove: bool = False) -> None:
    """Raises StartFailed; with `remove` the container is gone then."""
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
        if error.status not in (_ABSENT, 409):  # gone, or going by itself
            raise


async def _until_ended(client: Client, container: str, attached: Attached | None, ended: Body, streams: Streams) -> int:
    failures: list[Exception] = []
    codes: list[int] = []
    async with anyio.create_task_group() as group:
        if streams.passes_signals and not streams.terminal:
            await group.start(pass_signals_on, client, container)
        try:
            if attached is not None:
                await attend(client, container, attached, streams)
            detachable = streams.terminal and streams.stdin
            codes.append(await _exit_code(client, container, ended, detachable=detachable))
        except (ApiError, EngineUnreachable, OSError) as error:
            failures.append(error)  # raised outside, where no group wraps it
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return codes[0]


async def attend(client: Client, container: str, attached: Attached, streams: Streams) -> None:
    """Be the terminal of a container until its output ends, or somebody detaches."""

    async def resize(height: int, width: int) -> None:
        await client.act("POST", f"/containers/{container}/resize", {"h": height, "w": width})

    await join(attached, terminal=streams.terminal, reads=streams.stdin, resize=resize)


async def _exit_code(client: Client, container: str, ended: Body, *, detachable: bool) -> int:
    """Who detached leaves it running: that is no failure."""
    if detachable:
        for _ in range(_LOOKS):
            if not await _still_runs(client, container):
                break
            await anyio.sleep(_LOOK_S)
        else:
            return 0
    return _code_of(await decode(ended, Ended))


_LOOKS, _LOOK_S = 5, 0.1  # the output ends a moment before the container has ended


async def _still_runs(client: Client, container: str) -> bool:
    try:
        found = await client.get(f"/containers/{container}/json", dict[str, Any])
    except ApiError:
        return False
    return bool(found["State"]["Running"])


def _code_of(answer: Ended) -> int:
    if answer.error is not None and answer.error.message:
        raise ApiError(500, answer.error.message)
    return answer.status_code
