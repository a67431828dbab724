"""Measures how soon any moment of a long history is answered, from the question to its answer on a terminal.

`ops/bench past` runs it: at moments spread over the history, and at those that lie farthest behind a snapshot. Each is
asked once over the socket and then, another one as far, with `shiplog --at`.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio
import msgspec

from clients.api import Client
from tests.benches import history
from tests.benches.report import say
from tests.engines import EngineUnderTest

BOOT_TIMEOUT_S = 120.0
MOMENTS = 6
TARGET = "under 1 s at 1,000,000"


def measure(root: Path) -> None:
    """The daemon works on a copy of a data-root."""
    engine = EngineUnderTest()
    try:
        shutil.copytree(root, engine.data_root)
        engine.start(timeout_s=BOOT_TIMEOUT_S)
        head, far = moments(engine)
        spread = [head * number // MOMENTS - 1 for number in range(1, MOMENTS + 1)]
        for what, sequences in (("spread over the history", spread), ("farthest behind a snapshot", far)):
            say(f"state at a moment over the socket, {what}", told(engine, sequences, over_the_socket), TARGET)
            nearby = [sequence - 1 for sequence in sequences]
            say(f"`shiplog --at SEQUENCE ps`, {what}", told(engine, nearby, at_a_terminal), TARGET)
    finally:
        engine.close()


def moments(engine: EngineUnderTest) -> tuple[int, list[int]]:
    """The newest event, and the events with the most others between them and the snapshot before."""
    names = (path.name.rpartition("-")[2] for path in (engine.data_root / "snapshots").iterdir())
    kept = sorted(int(name) for name in names if name.isdecimal())  # one may be being written
    gaps = sorted(zip([0, *kept], kept, strict=False), key=lambda gap: gap[0] - gap[1])
    facts = anyio.run(Client(f"unix://{engine.socket}").get, "/shiplog/log", dict[str, msgspec.Raw])
    return msgspec.json.decode(facts["events"], type=int), [later - 1 for _, later in gaps[:MOMENTS]]


def told(engine: EngineUnderTest, sequences: Iterable[int], ask: Callable[[EngineUnderTest, int], None]) -> str:
    taken_s = []
    for sequence in sequences:
        began = time.perf_counter()
        ask(engine, sequence)
        taken_s.append(time.perf_counter() - began)
    return f"median {statistics.median(taken_s):.2f} s, slowest {max(taken_s):.2f} s"


def over_the_socket(engine: EngineUnderTest, sequence: int) -> None:
    anyio.run(Client(f"unix://{engine.socket}").get, "/containers/json", list[msgspec.Raw], {"at": sequence})


def at_a_terminal(engine: EngineUnderTest, sequence: int) -> None:
    program = [
        str(Path(sys.executable).with_name("shiplog")),
        "-H",
        f"unix://{engine.socket}",
        "--at",
        str(sequence),
        "ps",
    ]
    subprocess.run(program, check=True, capture_output=True)


def main() -> None:
    """`past [--events N] [--containers N] [--directory DIR]`."""
    parser = argparse.ArgumentParser(prog="past", description=__doc__)
    parser.add_argument("--events", type=int, default=history.EVENTS)
    parser.add_argument("--containers", type=int, default=history.CONTAINERS)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/shiplog-bench"))
    given = parser.parse_args()
    measure(history.history(given.directory, given.events, given.containers))


if __name__ == "__main__":
    main()
