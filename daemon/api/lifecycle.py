"""Endpoints that start, stop and freeze containers, and the one that waits for their end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

from daemon.api.answers import empty, json_line
from daemon.api.commands import send
from daemon.api.engine import DEADLINE_S, Engine
from daemon.api.lookup import visible_container
from daemon.api.runs import Ending, Run
from daemon.http.messages import Answer, Request, StreamResponse
from daemon.http.query import integer, text
from daemon.shapes.go_values import JsonObject
from events.base import Command
from events.errors import InvalidParameter, Unsupported
from events.messages import container as m
from events.projections.containers import Container

CONDITIONS: Final = frozenset({"", "not-running", "next-exit", "removed"})
_LONGEST_EMPTY_BODY: Final = 7  # bytes; `{}` and `null` are still taken for none
_START_BODY_LIMIT: Final = 64 * 1024


class StartWithBody(InvalidParameter):
    """The host configuration can't come with the start any more."""

    def __init__(self) -> None:
        super().__init__(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )


async def start(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/start`."""
    if len(await request.read(_START_BODY_LIMIT)) > _LONGEST_EMPTY_BODY:
        raise StartWithBody
    if text(request.query, "checkpoint"):
        raise Unsupported("starting from a checkpoint is not supported")
    return await _changed(engine, request, m.StartContainer(container=request.parameters["id"]))


async def stop(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/stop`."""
    timeout_s, signal = _patience(request)
    command = m.StopContainer(container=request.parameters["id"], timeout_s=timeout_s, signal=signal)
    return await _changed(engine, request, command, None)


async def restart(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/restart`."""
    timeout_s, signal = _patience(request)
    command = m.RestartContainer(container=request.parameters["id"], timeout_s=timeout_s, signal=signal)
    return await _changed(engine, request, command, None)


def _patience(request: Request) -> tuple[int | None, str]:
    """Seconds until the kill and the first signal; the signal counts from 1.42 on."""
    timeout_s = integer(request.query, "t") if text(request.query, "t") else None
    return timeout_s, text(request.query, "signal") if request.version >= (1, 42) else ""


async def kill(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/kill`."""
    signal = text(request.query, "signal") or "SIGKILL"
    return await _changed(engine, request, m.KillContainer(container=request.parameters["id"], signal=signal))


async def pause(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/pause`."""
    return await _changed(engine, request, m.PauseContainer(container=request.parameters["id"]))


async def unpause(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/unpause`."""
    return await _changed(engine, request, m.UnpauseContainer(container=request.parameters["id"]))


async def _changed(
    engine: Engine, request: Request, command: Command[None], deadline_s: float | None = DEADLINE_S
) -> Answer:
    _, headers = await send(engine, request, command, deadline_s)
    return empty(204, headers)


async def wait(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/wait`: the head goes out at once, since `docker run` starts the container after it."""
    container = visible_container(engine.state, request.parameters["id"])
    condition = text(request.query, "condition")
    if condition not in CONDITIONS:
        raise InvalidParameter(f'invalid condition: "{condition}"')
    return StreamResponse(chunks=_outcome(_waiting(engine, container, condition)))


def _waiting(engine: Engine, container: Container, condition: str) -> Callable[[], Awaitable[Ending]]:
    """What to wait for; decided now, not when the answer's head is out."""
    run = Run(engine, container)
    if condition == "removed":
        return run.removed
    if condition == "next-exit":
        return run.ended
    if container.is_up:
        return run.not_running
    return partial(_ended_already, container)


async def _ended_already(container: Container) -> Ending:
    return Ending(exit_code=container.exit_code)


async def _outcome(waiting: Callable[[], Awaitable[Ending]]) -> AsyncIterator[bytes]:
    yield json_line(outcome_shape(await waiting()))


def outcome_shape(ending: Ending) -> JsonObject:
    """The answer of wait."""
    shape: JsonObject = {"StatusCode": ending.exit_code}
    return shape | ({"Error": {"Message": ending.error}} if ending.error else {})
