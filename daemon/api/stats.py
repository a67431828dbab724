"""The endpoint that tells what a container uses, once or every second."""

from collections.abc import AsyncIterator
from typing import Final

import anyio
from anyio import to_thread

from daemon.api.answers import as_json, json_line
from daemon.api.engine import Engine
from daemon.api.lookup import visible_container
from daemon.http.messages import Answer, Request, StreamResponse
from daemon.http.query import boolean
from daemon.shapes.stats import stats_shape
from events.errors import InvalidParameter
from events.projections.containers import Container
from handlers.exec.usage import Usage

_PERIOD_S: Final = 1.0


class StreamOfOne(InvalidParameter):
    """One sample and an endless stream exclude each other."""

    def __init__(self) -> None:
        super().__init__("cannot have stream=true and one-shot=true")


async def stats(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/stats`. Below 1.41 `one-shot` isn't known."""
    container = visible_container(engine.state, request.parameters["id"])
    streams = boolean(request.query, "stream", default=True)
    one_shot = boolean(request.query, "one-shot") and request.version >= (1, 41)
    if streams and one_shot:
        raise StreamOfOne
    if streams:
        return StreamResponse(content_type="application/json", chunks=_stream(engine, container))
    before = None if one_shot else await _look(engine, container)
    if before is not None:
        await anyio.sleep(_PERIOD_S)
    now = await _look(engine, container)
    return as_json(stats_shape(container, now, before))


async def _look(engine: Engine, container: Container) -> Usage | None:
    now = engine.state.containers.get(container.id)
    if now is None or not now.is_live:
        return None
    return await to_thread.run_sync(engine.measure, container.id)


async def _stream(engine: Engine, container: Container) -> AsyncIterator[bytes]:
    """A sample every second, also of what doesn't run, until the container is gone. The first has one to compare."""
    before = await _look(engine, container)
    if before is None:
        yield json_line(stats_shape(container, None, None))
    due = anyio.current_time()
    while True:
        due = max(due + _PERIOD_S, anyio.current_time())
        await _pause(engine, container, due)
        present = engine.state.containers.get(container.id)
        if present is None:
            return
        now = await _look(engine, present)
        yield json_line(stats_shape(present, now, before))
        before = now


async def _pause(engine: Engine, container: Container, due: float) -> None:
    """Until the time has come or the container is gone."""
    with engine.watch(f"container/{container.id}") as changed, anyio.CancelScope(deadline=due):
        while engine.state.containers.get(container.id) is not None:
            await changed()
