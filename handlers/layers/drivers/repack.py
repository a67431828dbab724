"""The program that puts tars of layers together again, in a process that sees the layers and nothing else; without it
a link in a layer could bring any file of the host into an image that is saved or pushed.

Runs as a fork (`fork_server.py`). The tars go to the request's output, one behind the other, then one JSON line to
standard output: `{}` or `{"kind", "message"}`. What a layer's links say leads no further than the layer (openat2(2)).
"""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import IO, Any

from events.errors import EngineError, SystemFailure
from handlers.kernel import confinement
from handlers.kernel.calls import attempt, reason
from handlers.layers.drivers.skeletons import SkeletonDamaged, assemble, told_size

_NEEDED = (confinement.CAP_DAC_READ_SEARCH,)
_GATHER_BYTES = 256 * 1024


def carry_out(request: dict[str, Any]) -> None:
    """Do what a request (`Request` in `layer_tars.py`) says and print the answer."""
    answer: dict[str, str] = {}
    try:
        confinement.die_with_parent(request["parent_pid"])
        _repack(request)
    except EngineError as error:
        answer = {"kind": error.kind, "message": str(error)}
    except OSError as error:
        answer = {"kind": SystemFailure.kind, "message": f"read a layer: {reason(error.errno or 0)}"}
    print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _repack(request: dict[str, Any]) -> None:
    with attempt("open the pipe to the engine"):
        output = os.open(request["output"], os.O_WRONLY | os.O_CLOEXEC)
    layers = [(*_open(layer["directory"], layer["skeleton"]), layer["diff_id"]) for layer in request["layers"]]
    last = confinement.last_capability()
    confinement.enter_root(request["layers"][0]["directory"])
    confinement.keep_capabilities(_NEEDED, last=last)
    for root, skeleton, diff_id in layers:
        _put_together(root, skeleton, diff_id, output)


def _open(directory: str, skeleton: str) -> tuple[int, IO[bytes]]:
    """Both open until the process ends."""
    with attempt(f"open {directory}"):
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with attempt(f"open {skeleton}"):
        return root, open(skeleton, "rb")  # noqa: PTH123


def _put_together(root: int, skeleton: IO[bytes], diff_id: str, output: int) -> None:
    told_bytes, size = told_size(skeleton), 0
    digest = hashlib.sha256()
    for block in _gathered(assemble(skeleton, root)):
        digest.update(block)
        size += len(block)
        _write(output, block)
    if f"sha256:{digest.hexdigest()}" != diff_id or size != told_bytes:
        raise SkeletonDamaged(f"it isn't {diff_id}")


def _gathered(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks that are worth a system call."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= _GATHER_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _write(output: int, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[os.write(output, left) :]
