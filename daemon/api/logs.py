"""The endpoint that reads what a container has written."""

from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import msgspec

from daemon.api.answers import stream_type
from daemon.api.engine import Engine
from daemon.api.lookup import visible_container
from daemon.api.runs import Run
from daemon.http.messages import Answer, Request, StreamResponse
from daemon.http.query import boolean, text
from daemon.http.timestamps import LOGS, timestamp
from events.errors import InvalidParameter, Unsupported
from events.messages.container import ContainerSecrets, LogConfig
from events.projections.containers import Container
from events.sealed import KeyDestroyed
from handlers.exec.log_options import details
from handlers.exec.log_plans import plan_of
from handlers.exec.ports import LogQuery

ALL_LINES = -1
_PLAIN = LogConfig(type="json-file")
_replace = msgspec.structs.replace


class NoStreamChosen(InvalidParameter):
    """Neither stdout nor stderr."""

    def __init__(self) -> None:
        super().__init__("must specify at least one of 'stdout' or 'stderr'")


async def logs(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/logs`."""
    container = visible_container(engine.state, request.parameters["id"])
    is_terminal = container.config.tty
    query = log_query(request, engine.clock.now_ns(), framed=not is_terminal)
    if container.host.log_config != _PLAIN:
        query = _replace(query, details=_details(engine, container, request))
    elif boolean(request.query, "details"):
        query = _replace(query, details="")
    return StreamResponse(
        content_type=stream_type(request.version, is_terminal=is_terminal),
        chunks=_chunks(engine, container, query),
    )


def _details(engine: Engine, container: Container, request: Request) -> str | None:
    """What the log options (labels, env, tag) put before a line. Raises Unsupported where nothing can be read."""
    try:
        secrets = msgspec.json.decode(engine.keyring.open(container.secrets), type=ContainerSecrets)
    except KeyDestroyed:
        return None
    plan = plan_of(container, secrets)
    if not plan.is_readable:
        raise Unsupported("configured logging driver does not support reading")
    return details(plan.attributes) if boolean(request.query, "details") else None


def _chunks(engine: Engine, container: Container, query: LogQuery) -> AsyncIterator[bytes]:
    """Nothing will come of what doesn't run; as in dockerd it ends at once."""
    if query.follow and (container.is_live or container.operation == "start"):
        return _followed(engine, container, query)
    return engine.streams.output(container.id, _replace(query, follow=False))


async def _followed(engine: Engine, container: Container, query: LogQuery) -> AsyncGenerator[bytes]:
    """A run that ended before anybody began to follow it has left all its output behind."""
    run = Run(engine, container)
    chunks = engine.streams.output(container.id, query)
    first = await _first(chunks, run)
    if first is None:
        chunks = engine.streams.output(container.id, _replace(query, follow=False))
    else:
        yield first
    async for chunk in chunks:
        yield chunk


async def _first(chunks: AsyncIterator[bytes], run: Run) -> bytes | None:
    """The first chunk; None when the run ends before there is one."""
    first: bytes | None = None
    async with anyio.create_task_group() as tasks:

        async def stop_at_the_end() -> None:
            await run.ended()
            tasks.cancel_scope.cancel("the run has ended")

        tasks.start_soon(stop_at_the_end)
        first = await anext(chunks, None)
        tasks.cancel_scope.cancel("there is something to read")
    return first


def log_query(request: Request, now_ns: int, *, framed: bool) -> LogQuery:
    """What was asked for. Raises NoStreamChosen, InvalidParameter."""
    query = request.query
    stdout, stderr = boolean(query, "stdout"), boolean(query, "stderr")
    if not stdout and not stderr:
        raise NoStreamChosen
    return LogQuery(
        stdout=stdout,
        stderr=stderr,
        since_ns=_bound(request, "since", now_ns),
        until_ns=_bound(request, "until", now_ns),
        tail=tail_lines(text(query, "tail")),
        timestamps=boolean(query, "timestamps"),
        follow=boolean(query, "follow"),
        framed=framed,
        by_line=True,
    )


def _bound(request: Request, name: str, now_ns: int) -> int:
    """ns; 0 for none."""
    value = text(request.query, name)
    return timestamp(value, now_ns=now_ns, wording=LOGS, name=name) if value else 0


def tail_lines(value: str) -> int:
    """A number of lines; `all`, nothing and what isn't a number are all of them."""
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 19 else ALL_LINES
