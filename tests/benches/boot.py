"""Measures how long the daemon itself takes from its start to its first answer, over a long history.

`ops/bench boot` runs it: with the newest snapshot, then without any. The daemon works on a copy of the history.
"""

import argparse
import shutil
import time
from pathlib import Path

from tests.benches import history
from tests.benches.report import say
from tests.engines import EngineUnderTest

BOOT_TIMEOUT_S = 120.0


def boot(root: Path, what: str, target: str) -> None:
    """Start on a copy of a data-root, the second time with all that the first start had to settle behind it."""
    engine = EngineUnderTest()
    try:
        shutil.copytree(root, engine.data_root)
        engine.start(timeout_s=BOOT_TIMEOUT_S)
        engine.stop()
        if "without" in what:
            shutil.rmtree(engine.data_root / "snapshots")
        began = time.perf_counter()
        engine.start(timeout_s=BOOT_TIMEOUT_S)
        taken, worked = time.perf_counter() - began, engine.cpu_s()
        containers = engine.out("info", "--format", "{{.Containers}}")
        say(
            f"from start to first answer {what}, {containers} containers",
            f"{taken:.2f} s ({worked:.2f} s of work)",
            target,
        )
    finally:
        engine.close()


def main() -> None:
    """`boot [--events N] [--containers N] [--directory DIR]`."""
    parser = argparse.ArgumentParser(prog="boot", description=__doc__)
    parser.add_argument("--events", type=int, default=history.EVENTS)
    parser.add_argument("--containers", type=int, default=history.CONTAINERS)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/shiplog-bench"))
    given = parser.parse_args()
    root = history.history(given.directory, given.events, given.containers)
    boot(root, "with snapshot", "2 s at 1,000,000")
    boot(root, "without snapshot", "10 s at 1,000,000")


if __name__ == "__main__":
    main()
