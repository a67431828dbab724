"""Endpoints about the files of containers: `docker cp`, `docker diff`, `docker export`, `docker commit`."""

import base64
import posixpath
import stat
from typing import Final

import msgspec

from daemon.api.answers import as_json, empty
from daemon.api.bodies import read_commit
from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.api.images import UPLOAD_S, scratch_file, spooled
from daemon.api.lookup import visible_container
from daemon.http.messages import Answer, Request, Response, StreamResponse
from daemon.http.query import boolean, text
from daemon.shapes.times import SECOND_NS, rfc3339
from events.errors import InvalidParameter, NotFound
from events.messages.container import CommitContainer, PutArchive, RecordAccess
from events.projections.containers import Container
from events.references import tagged
from handlers.containers.commit import stated_config
from handlers.containers.errors import NoSuchFile
from handlers.containers.view import view_mounts
from handlers.layers import decide
from handlers.layers.ports import PathStat, Subject

_STAT_HEADER: Final = "X-Docker-Container-Path-Stat"
_TAR: Final = "application/x-tar"
_EARLIEST_NS: Final = -62_135_596_800 * SECOND_NS  # the year 1
_LATEST_NS: Final = 253_402_300_799 * SECOND_NS  # the end of the year 9999
# Go's io/fs.FileMode: what stat(2) says of a file, as its own bits
_GO_TYPES: Final = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS: Final = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


async def stat_path(engine: Engine, request: Request) -> Answer:
    """`HEAD /containers/{id}/archive`."""
    path = _path(request)
    container = visible_container(engine.state, request.parameters["id"])
    try:
        found = await engine.files.stat(_subject(engine, container), path)
    except NotFound as error:
        raise NoSuchFile(text(request.query, "path"), request.parameters["id"]) from error
    return Response(headers={_STAT_HEADER: stat_header(found)})


async def get_archive(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/archive`."""
    path = _path(request)
    container = visible_container(engine.state, request.parameters["id"])
    try:
        found, chunks = await engine.files.archive(_subject(engine, container), path)
    except NotFound as error:
        raise NoSuchFile(text(request.query, "path"), request.parameters["id"]) from error
    headers = await _recorded(engine, request, container, "archive-path")
    return StreamResponse(headers=headers | {_STAT_HEADER: stat_header(found)}, content_type=_TAR, chunks=chunks)


async def put_archive(engine: Engine, request: Request) -> Answer:
    """`PUT /containers/{id}/archive`."""
    path = _path(request)
    visible_container(engine.state, request.parameters["id"])
    async with spooled(engine, request) as archive:
        command = PutArchive(
            container=request.parameters["id"],
            archive=str(archive),
            path=path,
            no_overwrite_dir_non_dir=boolean(request.query, "noOverwriteDirNonDir"),
            copy_uid_gid=boolean(request.query, "copyUIDGID"),
        )
        _, headers = await send(engine, request, command, UPLOAD_S)
    return empty(200, headers)


async def export(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/export`."""
    container = visible_container(engine.state, request.parameters["id"])
    chunks = await engine.files.export(_subject(engine, container, bare=True))
    headers = await _recorded(engine, request, container, "export")
    return StreamResponse(headers=headers, content_type="application/octet-stream", chunks=chunks)


async def changes(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/changes`."""
    container = visible_container(engine.state, request.parameters["id"])
    found = await engine.files.changes(_subject(engine, container, bare=True))
    return as_json([{"Path": change.path, "Kind": change.kind} for change in found] or None)


async def commit(engine: Engine, request: Request) -> Answer:
    """`POST /commit`."""
    name = text(request.query, "container")
    if not name:
        raise InvalidParameter('invalid name or ID supplied: ""')
    repository = text(request.query, "repo")
    config = await read_commit(request)
    visible_container(engine.state, name)
    async with scratch_file(engine, "commit") as path:
        command = CommitContainer(
            container=name,
            path=str(path),
            reference=tagged(repository, text(request.query, "tag")) if repository else "",
            author=text(request.query, "author"),
            comment=text(request.query, "comment"),
            pause=boolean(request.query, "pause", default=True),
            changes=tuple(request.query.get("changes", ())),
            config=None if config is None else stated_config(config),
        )
        made, headers = await send(engine, request, command, UPLOAD_S)
    return as_json({"Id": made.image_id}, 201, headers)


def stat_header(found: PathStat) -> str:
    """What a file is, in base64, for the CLI to choose by."""
    shape = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": _file_time(found.modified_ns),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(msgspec.json.encode(shape)).decode()


def _file_time(time_ns: int) -> str:
    """Of a file, which may claim any time: the years that RFC 3339 can tell, and 1970 is one of them."""
    clamped = min(max(time_ns, _EARLIEST_NS), _LATEST_NS)
    return rfc3339(clamped) if clamped else "1970-01-01T00:00:00Z"


def go_mode(mode: int) -> int:
    """A mode of stat(2) as Go's FileMode."""
    bits = sum(go for bit, go in _GO_BITS.items() if mode & bit)
    return mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0) | bits


def _path(request: Request) -> str:
    """Absolute; whether it ends with a slash or a dot is kept. Raises InvalidParameter."""
    if not request.parameters["id"]:
        raise InvalidParameter("bad parameter: name cannot be empty")
    given = text(request.query, "path")
    if not given:
        raise InvalidParameter("bad parameter: path cannot be empty")
    if "\0" in given:
        raise InvalidParameter("bad parameter: path has a NUL character")
    clean = posixpath.normpath("/" + given.lstrip("/"))
    if given.endswith("/.") or given == ".":
        return f"{clean.rstrip('/')}/."
    return f"{clean}/" if given.endswith("/") and clean != "/" else clean


def _subject(engine: Engine, container: Container, *, bare: bool = False) -> Subject:
    """`bare`: without what is mounted in it."""
    mounts = () if bare else view_mounts(engine.state, container)
    driver = engine.layout.storage_driver
    return decide.subject(engine.state, container.id, driver, mounts, writable=not container.host.readonly_rootfs)


async def _recorded(engine: Engine, request: Request, container: Container, action: str) -> dict[str, str]:
    _, headers = await send(engine, request, RecordAccess(container=container.id, action=action))
    return headers
