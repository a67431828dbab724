"""Tars for tests, entry by entry; without it every test would spell out headers."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Self

SECOND_NS = 10**9
TIME_NS = 1_600_000_000 * SECOND_NS + 123_456_789


class TarBuilder:
    """Collects entries in order; PAX, so that nanoseconds and attributes are kept."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(
        self,
        name: str,
        *,
        kind: bytes = tarfile.REGTYPE,
        data: bytes = b"",
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        link: str = "",
        device: tuple[int, int] = (0, 0),
        attributes: dict[str, bytes] | None = None,
        time_ns: int = TIME_NS,
    ) -> Self:
        """One entry of any kind."""
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.uid, entry.gid, entry.linkname = kind, mode, uid, gid, link
        entry.devmajor, entry.devminor = device
        entry.size = len(data) if kind == tarfile.REGTYPE else 0
        entry.mtime = time_ns // SECOND_NS
        entry.pax_headers = {"mtime": f"{time_ns // SECOND_NS}.{time_ns % SECOND_NS:09d}"}
        for key, value in (attributes or {}).items():
            entry.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
        self._tar.addfile(entry, io.BytesIO(data))
        return self

    def file(self, name: str, data: bytes | str = b"", **fields: object) -> Self:
        """A regular file."""
        return self.add(name, data=data.encode() if isinstance(data, str) else data, **fields)  # type: ignore[arg-type]

    def directory(self, name: str, mode: int = 0o755, **fields: object) -> Self:
        """A directory."""
        return self.add(name, kind=tarfile.DIRTYPE, mode=mode, **fields)  # type: ignore[arg-type]

    def symlink(self, name: str, target: str) -> Self:
        """A symbolic link."""
        return self.add(name, kind=tarfile.SYMTYPE, link=target, mode=0o777)

    def hard_link(self, name: str, target: str) -> Self:
        """Another name for an entry."""
        return self.add(name, kind=tarfile.LNKTYPE, link=target)

    def bytes(self) -> bytes:
        """The archive."""
        self._tar.close()
        return self._buffer.getvalue()

    def write(self, path: Path) -> Path:
        """The archive as a file."""
        path.write_bytes(self.bytes())
        return path


def digest(content: bytes) -> str:
    """`sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def gzipped(content: bytes) -> bytes:
    """Compressed, always to the same bytes."""
    return gzip.compress(content, mtime=0)
