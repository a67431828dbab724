"""Measures how much memory the engine takes while it loads a large image. `ops/bench load` runs it.

The archive is made while it is sent and kept nowhere; its layer is on disk for as long as the engine is there.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import random
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.benches.report import say
from tests.engines import EngineUnderTest

FILE_BYTES = 16 * 1024**2
BLOCK_BYTES = 512
PAUSE_S = 0.05
LIMIT_S = 900.0


def archive(files: int) -> Iterator[bytes]:
    """A docker-archive with one layer of that many files, no two the same and none that compresses."""
    digest, content = hashlib.sha256(), random.Random(5).randbytes(FILE_BYTES)
    yield header("layer.tar", files * (FILE_BYTES + BLOCK_BYTES) + 2 * BLOCK_BYTES)
    for number in range(files):
        for part in (header(f"{number:06}", FILE_BYTES), number.to_bytes(8, "big"), content[8:]):
            digest.update(part)
            yield part
    digest.update(bytes(2 * BLOCK_BYTES))
    yield bytes(2 * BLOCK_BYTES)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]}
    yield from member("config.json", {"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    yield from member("manifest.json", [{"Config": "config.json", "RepoTags": ["large:1"], "Layers": ["layer.tar"]}])
    yield bytes(2 * BLOCK_BYTES)


def member(name: str, document: object) -> Iterator[bytes]:
    """A small file of an archive."""
    content = json.dumps(document).encode()
    yield from (header(name, len(content)), content, bytes(-len(content) % BLOCK_BYTES))


def header(name: str, size_bytes: int) -> bytes:
    """Of a file in a tar."""
    entry = tarfile.TarInfo(name)
    entry.size = size_bytes
    return entry.tobuf()


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):  # gone, or no process
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, pending = [], [pid]
    while pending:
        found.append(pending.pop())
        pending += children.get(found[-1], [])
    return found


def memory_bytes(pid: int) -> int:
    """Of a process, with its part of what it shares (Pss); 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


class Peak:
    """The most that a daemon and all its processes take together, looked at again and again while a block runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most_bytes = 0

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            self.most_bytes = max(self.most_bytes, sum(map(memory_bytes, family(self._pid))))


def load(engine: EngineUnderTest, files: int) -> None:
    """`POST /images/load`."""
    connection = http.client.HTTPConnection("localhost", timeout=LIMIT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(LIMIT_S)
    connection.sock.connect(str(engine.socket))
    headers = {"Content-Type": "application/x-tar"}
    connection.request("POST", "/images/load", archive(files), headers, encode_chunked=True)
    said = connection.getresponse().read()
    assert b"Loaded image: large:1" in said, said
    connection.close()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="bench load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0, help="how large the image is")
    files = max(1, round(parser.parse_args().gigabytes * 1e9 / FILE_BYTES))
    engine = EngineUnderTest()
    try:
        engine.start()
        assert engine.process is not None
        with Peak(engine.process.pid) as peak:
            load(engine, files)
        say(
            f"peak memory while {files * FILE_BYTES / 1e9:.1f} GB are loaded",
            f"{peak.most_bytes / 1e6:.0f} MB",
            "under 150 MB",
        )
    finally:
        engine.close()


if __name__ == "__main__":
    main()
