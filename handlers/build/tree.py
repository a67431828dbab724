"""A build's files: a tar as a tree of names, looked at without being unpacked; no path and no link leads out of it.

The tar lies uncompressed in a file of the build's own; a file's bytes are read where they are. What links mean is
decided here, as a kernel would with this tree for its root.
"""

import copy
import hashlib
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import msgspec

from handlers import compression
from handlers.build.errors import OutsideContext
from handlers.kernel.calls import attempt
from handlers.tar_entries import BadEntry, Stream, entries

_LINKS_LIMIT = 40  # as Linux has it
_DEPTH_LIMIT = 1000
_CHUNK_BYTES = 1024 * 1024
_ATTRIBUTES = "SCHILY.xattr."
_TIME = "mtime"


class Node(msgspec.Struct, kw_only=True):
    """A name: its entry, where its bytes lie in the tar, and what is in it if it is a directory."""

    entry: tarfile.TarInfo
    offset: int = 0
    children: dict[str, "Node"] | None = None

    @property
    def is_directory(self) -> bool:
        """Whether others can be in it."""
        return self.children is not None


class Tree:
    """Names and what they stand for. `file` holds the bytes."""

    def __init__(self, file: Path, made_at_ns: int = 0) -> None:
        """`made_at_ns`: the time of directories that there is no word of."""
        self.file, self._made_at_s = file, made_at_ns // 10**9
        self.root = self._directory(".")

    def find(self, path: str, *, follows: bool = True) -> Node | None:
        """What is at a path below the root; links are followed, the last one only if `follows`."""
        found = self._walk(path, follows=follows)
        return None if found is None else found[1]

    def walk(self, node: Node | None = None, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """Everything below a directory, by path, in order of names."""
        children = (self.root if node is None else node).children or {}
        for name in sorted(children):
            path = posixpath.join(prefix, name)
            yield path, children[name]
            if children[name].is_directory:
                yield from self.walk(children[name], path)

    def add(self, entry: tarfile.TarInfo, offset: int) -> None:
        """Take in an entry as unpacking it would. Raises BadEntry."""
        parts = _parts(entry.name)
        if not parts:
            if entry.isdir():
                self.root.entry = entry
            return
        if len(parts) > _DEPTH_LIMIT:
            raise BadEntry(entry.name, "directories nested too deep")
        directory = self._parent(parts[:-1], entry)
        children = directory.children
        assert children is not None
        known = children.get(parts[-1])
        if entry.islnk():
            target = self.find("/".join(_parts(entry.linkname)), follows=False)
            if target is None or target.is_directory:
                raise BadEntry(entry.name, f'hard link to "{entry.linkname}": no such file or directory')
            children[parts[-1]] = Node(entry=target.entry, offset=target.offset)
        elif entry.isdir():
            kept = known.children if known is not None and known.is_directory else {}
            children[parts[-1]] = Node(entry=entry, children=kept)
        else:
            children[parts[-1]] = Node(entry=entry, offset=offset)

    def remove(self, path: str) -> None:
        """Leave a name out; absent is fine."""
        parent, name = posixpath.split(path)
        directory = self.find(parent)
        if directory is not None and directory.children is not None:
            directory.children.pop(name, None)

    def content(self, node: Node) -> Iterator[bytes]:
        """A file's bytes. Blocks."""
        with attempt(f"read {self.file}"), self.file.open("rb") as file:
            file.seek(node.offset)
            yield from _content(file, node.entry)

    def digest(self, node: Node, name: str) -> str:
        """Of all that tells a copy of it from another: names, kinds, modes and bytes, not times and owners. Blocks."""
        total = hashlib.sha256()
        with attempt(f"read {self.file}"), self.file.open("rb") as file:
            for path, each in ((name, node), *self.walk(node, name)):
                total.update(_told(path, each))
                if each.entry.isreg():
                    file.seek(each.offset)
                    for chunk in _content(file, each.entry):
                        total.update(chunk)
        return total.hexdigest()

    def write(self, target: tarfile.TarFile, node: Node, name: str, *, keeps_owner: bool) -> None:
        """Add a file, or all that is in a directory, to another tar. Blocks."""
        named = self.walk(node, name) if node.is_directory else iter(((name, node),))
        with attempt(f"read {self.file}"), self.file.open("rb") as file:
            for path, each in named:
                file.seek(each.offset)
                content = cast(IO[bytes], _Reader(_content(file, each.entry)))
                target.addfile(_copied(each.entry, path, keeps_owner=keeps_owner), content)

    def _parent(self, parts: list[str], entry: tarfile.TarInfo) -> Node:
        """The directory of an entry, made where it is missing; links on the way lead where they would."""
        node, path = self.root, ""
        for part in parts:
            path = posixpath.join(path, part)
            found = self.find(path)
            if found is None or not found.is_directory:
                assert node.children is not None
                node.children[part] = found = self._directory(part)
            node = found
        if not node.is_directory:
            raise BadEntry(entry.name, "not a directory")
        return node

    def _directory(self, name: str) -> Node:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, self._made_at_s
        return Node(entry=entry, children={})

    def _walk(self, path: str, *, follows: bool) -> tuple[list[str], Node] | None:
        """Where a path leads, and what is there."""
        left, at, links = _split(path)[::-1], list[str](), 0
        nodes = [self.root]
        while left:
            part = left.pop()
            if part == "..":
                at, nodes = at[:-1], nodes[:-1] or [self.root]
                continue
            child = (nodes[-1].children or {}).get(part)
            if child is None:
                return None
            if child.entry.issym() and (left or follows):
                links += 1
                if links > _LINKS_LIMIT:
                    return None
                target = child.entry.linkname
                if target.startswith("/"):
                    at, nodes = [], [self.root]
                left += _split(target)[::-1]
                continue
            at.append(part)
            nodes.append(child)
        return at, nodes[-1]


def read_tree(archive: Path, plain: Path, now_ns: int = 0) -> Tree:
    """Make a tree of a tar that lies in a file, plain or compressed, and its plain copy. Raises InvalidParameter for
    what isn't one, or leads out of itself. Blocks."""
    tree = Tree(plain, now_ns)
    with attempt(f"expand {archive}"), archive.open("rb") as source, plain.open("xb") as target:
        stream = Stream(_teed(compression.blocks(source), target))
        for entry in entries(stream):
            tree.add(entry, stream.tell())
        stream.finish()
    return tree


def lone_file(name: str, size: int, file: Path, *, mode: int = 0o644) -> Tree:
    """A tree of one file, that is all of `file`."""
    tree, entry = Tree(file), tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    tree.add(entry, 0)
    return tree


def inside(path: str) -> str:
    """A path of an instruction as one below the context; "" is the context itself. Raises OutsideContext."""
    cleaned = posixpath.normpath(path.lstrip("/") or ".")
    if cleaned == ".." or cleaned.startswith("../"):
        raise OutsideContext(path.lstrip("/"))
    return "" if cleaned == "." else cleaned


class _Reader:
    """What `tarfile` copies from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    def read(self, size: int = -1) -> bytes:
        parts, left = [], size
        while left:
            if not self._held:
                self._held = next(self._chunks, b"")
                if not self._held:
                    break
            part, self._held = self._held[:left], self._held[left:]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _teed(blocks: Iterator[bytes], target: IO[bytes]) -> Iterator[bytes]:
    for block in blocks:
        target.write(block)
        yield block


def _parts(name: str) -> list[str]:
    """The components of an entry's name. Raises BadEntry for one that leads out."""
    path = posixpath.normpath(name)
    if path == ".." or path.startswith("../"):
        raise BadEntry(name, f'"{name}" is outside of the context')
    return _split(path)


def _split(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _content(file: IO[bytes], entry: tarfile.TarInfo) -> Iterator[bytes]:
    """From where the file stands; holes as zeros."""
    if not entry.isreg():
        return
    position = 0
    for offset, size in getattr(entry, "sparse", None) or ((0, entry.size),):
        yield from _zeros(offset - position)
        left = size
        while left > 0:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise compression.CutShort
            left -= len(chunk)
            yield chunk
        position = offset + size
    yield from _zeros(entry.size - position)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK_BYTES))
        count -= _CHUNK_BYTES


def _attributes(entry: tarfile.TarInfo) -> dict[str, str]:
    return {name: value for name, value in entry.pax_headers.items() if name.startswith(_ATTRIBUTES)}


def _told(path: str, node: Node) -> bytes:
    entry = node.entry
    facts = (path, entry.type, entry.mode & 0o7777, entry.linkname, entry.size, sorted(_attributes(entry).items()))
    return repr(facts).encode(errors="surrogateescape")


def _copied(entry: tarfile.TarInfo, name: str, *, keeps_owner: bool) -> tarfile.TarInfo:
    copied = copy.copy(entry)
    copied.name = name
    copied.sparse = None
    if entry.isreg():
        copied.type = tarfile.REGTYPE
    kept = _attributes(entry) | ({_TIME: entry.pax_headers[_TIME]} if _TIME in entry.pax_headers else {})
    copied.pax_headers = kept
    if not keeps_owner:
        copied.uid = copied.gid = 0
    copied.uname = copied.gname = ""
    return copied
