"""COPY and ADD: which files an instruction means, what they come to, and a tar of them for the layer handler."""

import hashlib
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from events.errors import InvalidParameter
from handlers import compression
from handlers.build.errors import CopyFailed
from handlers.build.patterns import compiled, has_magic
from handlers.build.tree import Node, Tree, inside
from handlers.kernel.calls import attempt
from handlers.tar_entries import BadArchive, Stream, entries


class Source(msgspec.Struct, frozen=True):
    """A file or a directory to be copied. `path` is what it is called by."""

    tree: Tree
    path: str
    node: Node
    is_fetched: bool = False  # from the web
    unpacks: bool = False  # an archive, of which ADD takes what is in it

    @property
    def name(self) -> str:
        """Its own name."""
        return posixpath.basename(self.path)


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """One tar for the layer: into a directory, or its only file as the destination."""

    archive: Path
    is_directory: bool
    is_owned: bool = True  # by who is asked for; an archive that is unpacked keeps its owners


def chosen(tree: Tree, path: str, missing: str) -> list[Source]:
    """What an instruction's source means. `missing` is the text for what isn't there. Raises OutsideContext,
    CopyFailed's reasons as InvalidParameter."""
    wanted = inside(path)
    if not has_magic(path):
        node = tree.find(wanted)
        if node is None:
            raise InvalidParameter(missing.format(path=path.lstrip("/")))
        return [Source(tree, wanted, node)]
    pattern = compiled(wanted)
    found = []
    for name, _ in tree.walk():
        if pattern.fullmatch(name):
            node = tree.find(name)
            if node is None:
                raise InvalidParameter(missing.format(path=name))
            found.append(Source(tree, name, node))
    return found


def chosen_all(tree: Tree) -> list[Source]:
    """Whatever is at the top of a tree."""
    return [Source(tree, name, node) for name, node in (tree.root.children or {}).items()]


def prefix_of(path: str) -> str:
    """The part of a path that is no pattern."""
    parts = inside(path).split("/")
    fixed = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
    return "/".join(parts[:fixed])


def digest(sources: Sequence[Source]) -> str:
    """What the history calls the files: another word for every other content. Blocks."""
    words = [_word(source) for source in sources]
    if len(words) == 1:
        return words[0]
    return f"multi:{hashlib.sha256(','.join(words).encode()).hexdigest()}"


def _word(source: Source) -> str:
    if source.node.is_directory:
        return f"dir:{source.tree.digest(source.node, '')}"
    return f"file:{source.tree.digest(source.node, source.name)}"


def destination_of(working_directory: str, written: str) -> str:
    """Where copies go, absolute; a slash at its end says that it is a directory."""
    path = posixpath.normpath(posixpath.join("/", working_directory, written)).replace("//", "/")
    return f"{path.rstrip('/')}/" if written.endswith("/") else path


def check(instruction: str, sources: Sequence[Source], written: str) -> None:
    """Raises CopyFailed for nothing to copy, InvalidParameter for several things at one place."""
    if not sources:
        raise CopyFailed(instruction, "no source files were specified")
    if len(sources) > 1 and not written.endswith("/"):
        raise InvalidParameter(
            f"When using {instruction} with more than one source file, the destination must be a directory and end "
            "with a /"
        )


def is_archive(source: Source) -> bool:
    """Whether ADD takes a file for a tar: it begins with one, compressed or not. Blocks."""
    if source.node.is_directory or not source.node.entry.isreg() or not source.node.entry.size:
        return False
    try:
        with source.tree.file.open("rb") as file:
            stream = Stream(compression.blocks(file, source.node.offset, source.node.entry.size))
            return next(entries(stream), None) is not None
    except (BadArchive, InvalidParameter):
        return False


def write(sources: Sequence[Source], directory: Path, *, is_directory: bool, keeps_owner: bool) -> Iterator[Placement]:
    """The tars that carry the sources, in their order, as files in a new directory. Blocks."""
    directory.mkdir()
    numbered = enumerate(sources)
    for unpacks, group in groupby(numbered, key=lambda each: each[1].unpacks):
        parts = list(group)
        archive = directory / f"part-{parts[0][0]}.tar"
        if unpacks:
            for number, source in parts:
                own = directory / f"archive-{number}"
                _extract(source, own)
                yield Placement(archive=own, is_directory=True, is_owned=False)
            continue
        with attempt(f"write {archive}"), tarfile.open(archive, "x", format=tarfile.PAX_FORMAT) as target:
            for _, source in parts:
                name = "" if source.node.is_directory else source.name
                source.tree.write(target, source.node, name, keeps_owner=keeps_owner)
        into = is_directory or any(source.node.is_directory for _, source in parts)
        yield Placement(archive=archive, is_directory=into)


def _extract(source: Source, target: Path) -> None:
    with attempt(f"write {target}"), target.open("xb") as file:
        for chunk in source.tree.content(source.node):
            file.write(chunk)
