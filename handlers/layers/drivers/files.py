"""The program that looks into one container's files, in a process of its own; without it a link or a race that a
container sets up would be met with the daemon's powers and its view of the host.

It puts the container's file system together in a mount namespace of its own, moves its root there, drops what it
doesn't need, and does one thing. Standard input: one JSON object (`Request` in `container_files.py`). Standard output:
one JSON line, the answer or `{"kind", "message"}`; after it, where there is one, a tar. Exit status 0 when all is out.
"""

import codecs
import errno
import hashlib
import json
import os
import posixpath
import resource
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import msgspec

from events.errors import EngineError, Forbidden, InvalidParameter, NotFound, SystemFailure
from handlers.compression import blocks
from handlers.kernel import confinement, mounts
from handlers.kernel.calls import KernelRefused, attempt, reason
from handlers.layers.drivers import view
from handlers.layers.drivers.comparison import Comparison
from handlers.layers.drivers.lineage import Lineage
from handlers.layers.drivers.owners import UnknownOwner, find_owner
from handlers.layers.drivers.placing import Placing
from handlers.layers.drivers.tarring import TarWriter
from handlers.layers.drivers.walking import DIRECTORY, Found, walk
from handlers.layers.drivers.whiteouts import PREFIX
from handlers.layers.ports import Copying, Extraction, Subject, Tree
from handlers.tar_entries import Stream, entries

_OUTPUT = 1
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC
_READERS = (confinement.CAP_DAC_READ_SEARCH,)
_COMPARERS = (*_READERS, confinement.CAP_SYS_ADMIN)  # trusted.* extended attributes
_WRITERS = (
    confinement.CAP_CHOWN,
    confinement.CAP_DAC_OVERRIDE,
    confinement.CAP_FOWNER,
    confinement.CAP_FSETID,
    confinement.CAP_MKNOD,
    confinement.CAP_SETFCAP,
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: `what` names a function of this program, what follows `subject` is for some of them."""

    what: str
    tree: Tree
    subject: Subject
    path: str = ""
    target: str = ""  # a file to be made, outside
    extraction: Extraction | None = None
    copying: Copying | None = None
    parent_pid: int


def main() -> None:
    """Read the request, do it, answer."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    try:
        confinement.die_with_parent(request.parent_pid)
        _raise_limits()
        _ACTIONS[request.what](request)
    except EngineError as error:
        _fail(error.kind, str(error))
    except OSError as error:
        _fail(SystemFailure.kind, f"{request.what}: {reason(error.errno or 0)}")
    except RecursionError:
        _fail(InvalidParameter.kind, f"{request.what}: directories nested too deep")
    except MemoryError:
        _fail(InvalidParameter.kind, f"{request.what}: too large a header")


def _raise_limits() -> None:
    """A descriptor is open for each directory on the way down."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _answer(answer: object) -> None:
    _write(json.dumps(answer).encode() + b"\n")


def _write(data: bytes | bytearray) -> None:
    left = memoryview(bytes(data))
    while left:
        left = left[os.write(_OUTPUT, left) :]


def _fail(kind: str, message: str) -> None:
    """Before the answer it is the answer; within a tar only the status is left to tell."""
    if not _answered:
        _answer({"kind": kind, "message": message})
    print(message, file=sys.stderr)  # noqa: T201 - for the engine's log
    sys.exit(1)


_answered: list[bool] = []


def _begin_tar(answer: object) -> TarWriter:
    _answer(answer)
    _answered.append(True)
    return TarWriter(_OUTPUT)


# ---- what it can do


def _stat(request: Request) -> None:
    _enter(request, _READERS)
    _answer(_status(request.path))


def _archive(request: Request) -> None:
    _enter(request, _READERS)
    answer, path = _status(request.path), request.path
    is_directory = stat.S_ISDIR(int(answer["mode"]))
    directory = path if is_directory else posixpath.dirname(path.rstrip("/"))
    name = _rebased(path) if is_directory else posixpath.basename(path.rstrip("/"))
    with _at(path):
        descriptor = os.open(directory, os.O_DIRECTORY | _READ_ONLY)
        alone = None if is_directory else os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    writer = _begin_tar(answer)
    if alone is not None:
        writer.add(name, Found(name, name, descriptor, alone))
    else:
        _add_tree(writer, descriptor, name)
    writer.finish()


def _add_tree(writer: TarWriter, directory: int, name: str) -> None:
    writer.add(f"{name}/", Found("", ".", directory, os.fstat(directory)))
    for found in walk(directory):
        writer.add(f"{name}/{found.path}", found)


def _extract(request: Request) -> None:
    extraction = request.extraction
    if extraction is None:
        raise SystemFailure("nothing to extract")
    source = _opened(extraction.archive)
    _enter(request, _WRITERS, changes=True)
    owner = find_owner(extraction.owner) if extraction.owner else None
    directory = extraction.directory
    with _at(directory, no_directory="extraction point is not a directory"):
        os.chdir(directory)
    _check_writable(request.subject)
    stream = Stream(blocks(source))
    placing = Placing(stream, directory, keeps_kind=extraction.no_overwrite_dir_non_dir, owner=owner)
    try:
        for entry in entries(stream):
            placing.place(entry)
        placing.finish(Lineage(()))
        stream.finish()
    except KernelRefused as refusal:
        if refusal.errno == errno.EROFS:
            raise _read_only(request.subject) from refusal
        raise
    _answer({})


def _opened(archive: str) -> BufferedReader:
    """A tar among the host's files, which the process is about to leave."""
    with attempt(f"open {archive}"):
        return open(archive, "rb")  # noqa: PTH123 - open until the process ends


def _copy(request: Request) -> None:
    copying = request.copying
    if copying is None:
        raise SystemFailure("nothing to copy")
    source = _opened(copying.archive)
    _enter(request, _WRITERS, changes=True)
    owner = _copies_owner(copying.owner) if copying.owner else None
    destination = os.path.realpath(copying.destination)
    is_directory = copying.is_directory or Path(destination).is_dir()
    directory, name = (destination, "") if is_directory else posixpath.split(destination)
    _make_directories(directory, owner or (0, 0))
    os.chdir(directory)
    stream = Stream(blocks(source))
    placing = Placing(stream, directory, keeps_kind=False, owner=owner)
    for entry in entries(stream):
        entry.name = name or entry.name
        placing.place(entry)
    placing.finish(Lineage(()))
    stream.finish()
    _answer({})


def _copies_owner(text: str) -> tuple[int, int]:
    """In the words of dockerd's builder."""
    try:
        return find_owner(text)
    except UnknownOwner as error:
        kind, name = error.kind_of_owner, error.name
        number = "uid" if kind == "user" else "gid"
        raise InvalidParameter(
            "unable to convert uid/gid chown string to host mapping: "
            f"can't find {number} for {kind} {name}: no such {kind}: {name}"
        ) from error


def _make_directories(path: str, owner: tuple[int, int]) -> None:
    """Missing directories, from the root on."""
    if Path(path).is_dir():
        return
    if os.path.lexists(path):
        raise InvalidParameter(f"cannot copy to non-directory: {path}")
    _make_directories(posixpath.dirname(path), owner)
    with _at(path):
        Path(path).mkdir(0o755)
        os.chown(path, *owner)


def _collect(request: Request) -> None:
    with attempt(f"make {request.target}"):
        target = open(request.target, "xb", 0)  # noqa: PTH123 - open until the process ends
    _enter(request, _READERS)
    with _at(request.path):
        path = os.path.realpath(request.path, strict=True)
        directory = os.open(posixpath.dirname(path), os.O_DIRECTORY | _READ_ONLY)
        name = posixpath.basename(path) or "."
        alone = os.stat(name, dir_fd=directory, follow_symlinks=False)
    writer = TarWriter(target.fileno())
    writer.add(path, Found(name, name, directory, alone))
    if stat.S_ISDIR(alone.st_mode):
        for found in walk(os.open(name, os.O_DIRECTORY | _READ_ONLY, dir_fd=directory)):
            writer.add(posixpath.join(path, found.path), found)
    writer.finish()
    _answer({"path": _named(path, root="")})


def _export(request: Request) -> None:
    """The layer alone: its mount points are empty."""
    mounts.leave_host()
    root = view.assemble(request.tree, changes=False)
    _confine(root, _READERS)
    descriptor = os.open("/", os.O_DIRECTORY | _READ_ONLY)
    writer = _begin_tar({})
    for found in walk(descriptor):
        writer.add(found.path, found)
    writer.finish()


def _changes(request: Request) -> None:
    comparison = _compare(request, complete=False)
    _answer([(_named(difference.path), difference.kind) for difference in comparison])


def _archive_changes(request: Request) -> None:
    """As overlayfs's own layers are packed: all that the layer holds, deletions as whiteout files."""
    with attempt(f"make {request.path}"):
        target = open(request.path, "xb+", 0)  # noqa: PTH123 - open until the process ends
    comparison = _compare(request, complete=True)
    writer = TarWriter(target.fileno())
    for difference in comparison:
        if difference.found is None:
            directory, name = posixpath.split(difference.path)
            writer.add_empty(posixpath.join(directory, PREFIX + name))
        else:
            writer.add(difference.path, difference.found)
    writer.finish()
    size = target.seek(0, os.SEEK_END)
    target.seek(0)
    digest = hashlib.file_digest(target, "sha256").hexdigest()
    _answer({"diff_id": f"sha256:{digest}", "size_bytes": size})


def _compare(request: Request, *, complete: bool) -> Comparison:
    mounts.leave_host()
    tree = request.tree
    lower = view.lower_tree(tree)
    with attempt(f"open the layers of {request.subject.container_id}"):
        below = os.open(lower, DIRECTORY) if lower else None
        own = os.open(tree.own, DIRECTORY)
    _confine(tree.own, _COMPARERS)
    return Comparison(own, below, marks=bool(tree.links), complete=complete)


_ACTIONS: dict[str, Callable[[Request], None]] = {
    "stat": _stat,
    "archive": _archive,
    "extract": _extract,
    "copy": _copy,
    "collect": _collect,
    "export": _export,
    "changes": _changes,
    "archive_changes": _archive_changes,
}

# ---- the view


def _enter(request: Request, capabilities: Iterable[int], *, changes: bool = False) -> None:
    last = confinement.last_capability()
    _load_codecs()
    view.enter(request.tree, request.subject, changes=changes)
    os.umask(0)
    confinement.keep_capabilities(capabilities, last=last)


def _confine(root: str, capabilities: Iterable[int]) -> None:
    last = confinement.last_capability()
    _load_codecs()
    confinement.enter_root(root)
    os.umask(0)
    confinement.keep_capabilities(capabilities, last=last)


def _load_codecs() -> None:
    """Their modules, while the library is in reach."""
    for encoding in ("utf-8", "ascii", "iso8859-1"):
        codecs.lookup(encoding)


# ---- paths inside


@contextmanager
def _at(path: str, *, no_directory: str = "") -> Iterator[None]:
    """What goes wrong at a path that a client named; `no_directory` is the text where it leads through a file."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file or directory") from error
    except OSError as error:
        said = no_directory if error.errno == errno.ENOTDIR else ""
        raise InvalidParameter(said or f"{path}: {reason(error.errno or 0)}") from error


def _status(path: str) -> dict[str, str | int]:
    """What `PathStat` holds."""
    with _at(path):
        status = os.lstat(path)
    target = os.path.realpath(path) if stat.S_ISLNK(status.st_mode) else ""
    return {
        "name": _named(posixpath.basename(path.rstrip("/")) or "/", root=""),
        "size": status.st_size,
        "mode": status.st_mode,
        "modified_ns": status.st_mtime_ns,
        "link_target": _named(target, root=""),
    }


def _named(path: str, *, root: str = "/") -> str:
    """A path as JSON can have it."""
    return root + path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _rebased(path: str) -> str:
    """What a directory is called in its archive: its own name, "." after a trailing one, "" for the root."""
    return posixpath.basename(path.rstrip("/"))


def _check_writable(subject: Subject) -> None:
    if os.statvfs(".").f_flag & os.ST_RDONLY:
        raise _read_only(subject)


def _read_only(subject: Subject) -> Forbidden:
    """In Docker's words: a mount that is read-only, or the container's own file system."""
    here = f"{Path.cwd()}/"
    is_mounted = any(here.startswith(f"{mount.destination.rstrip('/')}/") for mount in subject.mounts)
    return Forbidden(f"{'mounted volume' if is_mounted else 'container rootfs'} is marked read-only")


if __name__ == "__main__":
    main()
