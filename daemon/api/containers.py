"""Endpoints about containers as objects: list, make, look at, rename, remove."""

from daemon.api.answers import as_json, empty
from daemon.api.bodies import read_create
from daemon.api.commands import send
from daemon.api.container_filters import KEYS, Selection, select
from daemon.api.create_request import create_command, idle_fields
from daemon.api.engine import Engine
from daemon.api.lookup import visible_container
from daemon.api.prune_filters import KEYS as PRUNE_KEYS
from daemon.api.prune_filters import Prunable
from daemon.api.system import sized_summary, sizes
from daemon.http.messages import Answer, Request, Response
from daemon.http.query import boolean, filters, integer, text
from daemon.shapes.containers import inspection
from events.errors import Conflict, InvalidParameter, NotFound, NotModified
from events.messages import container as m
from events.projections.containers import Container


async def list_containers(engine: Engine, request: Request) -> Answer:
    """`GET /containers/json`."""
    selection = Selection(everything=boolean(request.query, "all"), limit=integer(request.query, "limit"))
    found = select(engine.state, filters(request.query, KEYS), selection)
    view = engine.view(request.version)
    if boolean(request.query, "size"):
        return as_json([await sized_summary(engine, container, view) for container in found])
    return Response(body=engine.answers.listed(found, view))


async def create_container(engine: Engine, request: Request) -> Answer:
    """`POST /containers/create`."""
    body = await read_create(request)
    name, platform = text(request.query, "name"), text(request.query, "platform")
    command = create_command(body, name, platform, request.version)
    created, headers = await send(engine, request, command)
    warnings = (*idle_fields(body.host_config), *created.warnings)
    return as_json({"Id": created.container_id, "Warnings": warnings}, 201, headers)


async def inspect_container(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/json`."""
    container = visible_container(engine.state, request.parameters["id"])
    if not boolean(request.query, "size"):
        return Response(body=engine.answers.inspected(container, engine.view(request.version)))
    measured = await sizes(engine, container)
    return as_json(inspection(container, engine.view(request.version), measured))


async def rename_container(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/rename`."""
    command = m.RenameContainer(container=request.parameters["id"], name=text(request.query, "name"))
    _, headers = await send(engine, request, command)
    return empty(204, headers)


async def resize_container(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/resize`."""
    height, width = terminal_size(request)
    command = m.ResizeContainer(container=request.parameters["id"], height=height, width=width)
    _, headers = await send(engine, request, command)
    return empty(200, headers)


def terminal_size(request: Request) -> tuple[int, int]:
    """Height and width in characters; both must be given. Raises InvalidParameter."""
    for name in ("h", "w"):
        if not text(request.query, name):
            raise InvalidParameter('strconv.Atoi: parsing "": invalid syntax')
    size = integer(request.query, "h"), integer(request.query, "w")
    if not all(0 <= side <= 65535 for side in size):  # what the kernel's struct winsize holds
        raise InvalidParameter("a terminal's height and width are between 0 and 65535")
    return size


async def remove_container(engine: Engine, request: Request) -> Answer:
    """`DELETE /containers/{id}`."""
    if boolean(request.query, "link"):
        return await _remove_link(engine, request)
    command = m.RemoveContainer(
        container=request.parameters["id"],
        force=boolean(request.query, "force"),
        volumes=boolean(request.query, "v"),
    )
    _, headers = await send(engine, request, command)
    return empty(204, headers)


async def _remove_link(engine: Engine, request: Request) -> Answer:
    """`DELETE /containers/{container}/{alias}?link=1`: one that isn't there is no error, as in Docker."""
    name, _, alias = request.parameters["id"].strip("/").rpartition("/")
    if not name:
        raise Conflict("Conflict, cannot remove the default link name of the container")
    try:
        _, headers = await send(engine, request, m.RemoveLink(container=name, alias=alias))
    except NotModified:
        return empty(204)
    return empty(204, headers)


async def prune_containers(engine: Engine, request: Request) -> Answer:
    """`POST /containers/prune`: removes what doesn't run; what changed or went away meanwhile is left out."""
    prunable = Prunable(filters(request.query, PRUNE_KEYS), engine.clock.now_ns())
    deleted: list[str] = []
    reclaimed = 0
    for container in tuple(engine.state.containers):
        if _is_idle(container) and prunable.takes(container.config.labels, container.created_at_ns):
            written = await engine.usage.container_bytes(container.id)
            if await _removed(engine, request, container.id):
                deleted.append(container.id)
                reclaimed += max(written, 0)
    return as_json({"ContainersDeleted": deleted or None, "SpaceReclaimed": reclaimed})


def _is_idle(container: Container) -> bool:
    return container.status in ("created", "exited", "dead") and not container.operation


async def _removed(engine: Engine, request: Request, container_id: str) -> bool:
    command = m.RemoveContainer(container=container_id)
    try:
        await engine.dispatch(request.actor, command, command_id=engine.ids.new())
    except (Conflict, NotFound):
        return False
    return True
