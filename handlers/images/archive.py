"""An image archive as a table of its files; layers are read in place, by offset, and never copied."""

import posixpath
import tarfile
from pathlib import Path

import msgspec

from handlers.compression import CutShort
from handlers.images.errors import BadImageArchive, NotInArchive
from handlers.kernel.calls import attempt

_ENTRIES_LIMIT = 100_000
_LINKS_LIMIT = 16


class Region(msgspec.Struct, frozen=True):
    """Where a file's bytes lie in the archive."""

    offset: int
    length: int


class Missing(msgspec.Struct, frozen=True):
    """A file that a manifest speaks of and that isn't in the archive."""

    name: str


class Archive(msgspec.Struct, frozen=True):
    """Files and links of an uncompressed tar, by cleaned name."""

    path: Path
    files: dict[str, Region]
    links: dict[str, str]  # name -> name that it stands for

    def __contains__(self, name: str) -> bool:
        return _clean(name) in self.files or _clean(name) in self.links

    def region(self, name: str) -> Region:
        """A file's place; links (old `docker save` shares layers by them) are followed. Raises NotInArchive."""
        wanted = _clean(name)
        for _ in range(_LINKS_LIMIT):
            if wanted in self.files:
                return self.files[wanted]
            if wanted not in self.links:
                break
            wanted = self.links[wanted]
        raise NotInArchive(name)

    def find(self, name: str) -> Region | Missing:
        """A file's place, if it has one."""
        try:
            return self.region(name)
        except NotInArchive:
            return Missing(name)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A small file's content. Raises NotInArchive, BadImageArchive, CutShort. Blocks."""
        region = self.region(name)
        if region.length > limit_bytes:
            raise BadImageArchive(f"{name}: {region.length} bytes, at most {limit_bytes} are taken")
        with attempt(f"read {self.path}"), self.path.open("rb") as file:
            file.seek(region.offset)
            content = file.read(region.length)
        if len(content) < region.length:
            raise CutShort
        return content


def open_archive(path: Path) -> Archive:
    """Find the files of an uncompressed tar. Raises InvalidParameter for what isn't one. Blocks."""
    archive = Archive(path, {}, {})
    try:
        with attempt(f"read {path}"), tarfile.open(path, "r:") as tar:
            for number, entry in enumerate(tar):
                if number >= _ENTRIES_LIMIT:
                    raise BadImageArchive(f"more than {_ENTRIES_LIMIT} files in the archive")
                _note(archive, entry)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        if path.stat().st_size < tarfile.BLOCKSIZE:
            raise CutShort from error
        raise BadImageArchive("archive/tar: invalid tar header") from error  # dockerd's words
    return archive


def _note(archive: Archive, entry: tarfile.TarInfo) -> None:
    name = _clean(entry.name)
    archive.files.pop(name, None)
    archive.links.pop(name, None)
    if entry.issym():
        archive.links[name] = _clean(posixpath.join(posixpath.dirname(name), entry.linkname))
    elif entry.islnk():
        archive.links[name] = _clean(entry.linkname)
    elif entry.isreg() and entry.sparse is None:
        archive.files[name] = Region(entry.offset_data, entry.size)


def _clean(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")
