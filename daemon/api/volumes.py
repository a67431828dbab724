"""Endpoints about volumes."""

from typing import Final

import msgspec

from daemon.api.answers import as_json, empty
from daemon.api.bodies import VolumeBody, read_body
from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.api.filters import boolean as boolean_filter
from daemon.api.filters import equals, labelled
from daemon.api.lookup import find_volume
from daemon.api.patterns import expressions
from daemon.http.messages import Answer, Request
from daemon.http.query import boolean, filters
from daemon.shapes.volumes import shape
from events.errors import Conflict, NotFound
from events.messages.volume import CreateVolume, RemoveVolume
from events.projections.state import State
from events.projections.volumes import Volume

KEYS: Final = frozenset({"dangling", "driver", "label", "name"})
_PRUNE_KEYS: Final = frozenset({"all", "label", "label!"})


async def list_volumes(engine: Engine, request: Request) -> Answer:
    """`GET /volumes`."""
    found = select(engine.state, filters(request.query, KEYS))
    return as_json({"Volumes": [shape(volume, engine.keyring) for volume in found], "Warnings": None})


def select(state: State, wanted: dict[str, tuple[str, ...]]) -> list[Volume]:
    """Volumes that pass the filters. Raises InvalidParameter."""
    dangling = boolean_filter(wanted, "dangling")
    named = expressions(wanted, "name")
    return [
        volume
        for volume in state.volumes
        if volume.status == "ready"
        and named(volume.name)
        and equals(wanted, "driver", volume.driver)
        and labelled(wanted, volume.labels)
        and (dangling is None or dangling == (not volume.users))
    ]


async def create_volume(engine: Engine, request: Request) -> Answer:
    """`POST /volumes/create`."""
    body = await read_body(request, VolumeBody)
    command = CreateVolume(name=body.name, driver=body.driver or "local", options=body.driver_opts, labels=body.labels)
    created, headers = await send(engine, request, command)
    volume = find_volume(engine.state, created.name)
    answer = as_json(shape(volume, engine.keyring), 201, headers)
    return msgspec.structs.replace(answer, sealed_for=f"volume/{volume.name}") if volume.options else answer


async def inspect_volume(engine: Engine, request: Request) -> Answer:
    """`GET /volumes/{name}`."""
    return as_json(shape(find_volume(engine.state, request.parameters["name"]), engine.keyring))


async def remove_volume(engine: Engine, request: Request) -> Answer:
    """`DELETE /volumes/{name}`."""
    command = RemoveVolume(name=request.parameters["name"], force=boolean(request.query, "force"))
    _, headers = await send(engine, request, command)
    return empty(204, headers)


async def prune_volumes(engine: Engine, request: Request) -> Answer:
    """`POST /volumes/prune`: what no container refers to; from 1.42 on only anonymous ones unless `all`."""
    wanted = filters(request.query, _PRUNE_KEYS)
    everything = request.version < (1, 42) or bool(boolean_filter(wanted, "all"))
    deleted: list[str] = []
    reclaimed = 0
    for volume in tuple(engine.state.volumes):
        may_go = volume.status == "ready" and not volume.users and (everything or volume.anonymous)
        if may_go and labelled(wanted, volume.labels):
            size_bytes = await engine.usage.directory_bytes(volume.mountpoint)
            if await _removed(engine, request, volume.name):
                deleted.append(volume.name)
                reclaimed += max(size_bytes, 0)
    return as_json({"VolumesDeleted": deleted or None, "SpaceReclaimed": reclaimed})


async def _removed(engine: Engine, request: Request, name: str) -> bool:
    """False when somebody has begun to use it."""
    command = RemoveVolume(name=name)
    try:
        await engine.dispatch(request.actor, command, command_id=engine.ids.new())
    except (Conflict, NotFound):
        return False
    return True
