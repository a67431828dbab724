"""The program that unpacks one layer, in a process of its own; without it a hostile archive would be parsed with the
daemon's powers and its view of the host.

It opens its source, moves its root into the layer's directory, drops what it doesn't need, and extracts. Standard
input: one JSON object (`Request` in `unpacking.py`). Standard output: one JSON line, `{"diff_id", "size_bytes",
"disk_bytes"}` or `{"kind", "message"}`.
"""

import codecs
import json
import os
import sys
from io import BufferedReader
from typing import Any

from events.errors import EngineError, InvalidParameter, SystemFailure
from handlers.compression import blocks
from handlers.kernel import confinement
from handlers.kernel.calls import attempt, reason
from handlers.kernel.mounts import sync_filesystem
from handlers.layers.drivers.arriving import open_arriving
from handlers.layers.drivers.extraction import Extraction
from handlers.layers.drivers.lineage import Lineage
from handlers.layers.drivers.skeletons import SkeletonWriter
from handlers.layers.drivers.whiteouts import AufsMarks, Deletions, OverlayMarks, Whiteouts
from handlers.layers.ports import BLOCK_BYTES
from handlers.tar_entries import Stream, entries

_NEEDED = (
    confinement.CAP_CHOWN,
    confinement.CAP_DAC_OVERRIDE,
    confinement.CAP_FOWNER,
    confinement.CAP_FSETID,
    confinement.CAP_MKNOD,
    confinement.CAP_SETFCAP,
    confinement.CAP_SYS_ADMIN,  # trusted.* extended attributes
)


def main() -> None:
    """Read the request, do it, answer."""
    carry_out(json.load(sys.stdin))


def carry_out(request: dict[str, Any]) -> None:
    """Do what a request says and print the answer; the process is of no other use afterwards."""
    try:
        confinement.die_with_parent(request["parent_pid"])
        answer = _unpack(request)
    except EngineError as error:
        answer = {"kind": error.kind, "message": str(error)}
    except OSError as error:
        answer = {"kind": SystemFailure.kind, "message": f"unpack: {reason(error.errno or 0)}"}
    except RecursionError:
        answer = {"kind": InvalidParameter.kind, "message": "archive/tar: directories nested too deep"}
    except MemoryError:
        answer = {"kind": InvalidParameter.kind, "message": "archive/tar: too large a header"}
    print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _unpack(request: dict[str, Any]) -> dict[str, str | int]:
    with attempt(f"open {request['path']}"):
        source = open_arriving(request["path"])
    with attempt(f"make {request['skeleton']}"):
        kept = open(request["skeleton"], "xb+")  # noqa: PTH123 - open until the process ends
    with attempt("open the pipe to the engine"):
        gate = os.open(request["gate"], os.O_RDONLY | os.O_CLOEXEC) if request["gate"] else -1
    host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # for the layers below, which may not be there yet
    _confine(request["directory"])
    skeleton = SkeletonWriter(kept)
    stream = Stream(blocks(source, request["offset"], request["length"]), skeleton)
    extraction = Extraction(stream, _whiteouts(request["marks"]))
    extraction.begin()
    for entry in entries(stream):
        extraction.place(entry)
    diff_id = stream.finish()
    if gate >= 0:
        os.read(gate, 1)  # its end: the layers below are complete
    extraction.finish(Lineage(request["lineage"], host))
    if skeleton.misses(extraction.cleared):
        skeleton = _keep_all(skeleton.begin_again(), source, request)
    skeleton.finish()
    if request["syncs"]:
        sync_filesystem("/")
        os.fsync(kept.fileno())  # it may lie on another file system than the layer
    disk_bytes = extraction.disk_bytes + os.fstat(kept.fileno()).st_blocks * BLOCK_BYTES
    return {"diff_id": diff_id, "size_bytes": extraction.size_bytes, "disk_bytes": disk_bytes}


def _keep_all(skeleton: SkeletonWriter, source: BufferedReader, request: dict[str, Any]) -> SkeletonWriter:
    """An archive that brings a file twice: what it brought first is nowhere else."""
    source.seek(0)
    for block in blocks(source, request["offset"], request["length"]):
        skeleton.keep(memoryview(block))
    return skeleton


def _whiteouts(marks: str) -> Whiteouts:
    if marks == "none":
        return Deletions()
    return AufsMarks() if marks == "aufs" else OverlayMarks()


def load_codecs() -> None:
    """Load their modules while the library is in reach."""
    for encoding in ("utf-8", "ascii", "iso8859-1"):
        codecs.lookup(encoding)


def _confine(directory: str) -> None:
    load_codecs()
    last = confinement.last_capability()
    os.umask(0)
    confinement.enter_root(directory)
    confinement.keep_capabilities(_NEEDED, last=last)


if __name__ == "__main__":
    main()
