"""Every point of every operation, or a choice of them; without it only what the test suite has time for would be tried.

Prints a line for each operation and, at the end, what was covered, what was wrong, and how many acknowledged events
were lost. Run by `ops/crash-points`.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence

from tests.crashing import runs
from tests.crashing.operation import Operation
from tests.crashing.operations import OPERATIONS
from tests.crashing.points import Point


class Campaign:
    """Counts as it goes."""

    def __init__(self, worlds: runs.Worlds) -> None:
        self._worlds = worlds
        self.covered = self.missed = self.lost = 0
        self.slowest_boot_s = 0.0
        self.wrong: list[str] = []

    def points(self, operation: Operation) -> tuple[Point, ...]:
        """Those of an operation."""
        with self._worlds.sound() as world:
            return runs.points(world, operation)

    def attempt(self, operation: Operation, point: Point, again: Point | None = None) -> runs.Result | None:
        """One crash, with `again` one more while the engine recovers; None when something was wrong."""
        try:
            with self._worlds.sound() as world:
                result = runs.cut_off(world, operation, point, again)
        except Exception as error:  # noqa: BLE001  # whatever it is, the other points are tried too
            twice = f", then {again}" if again else ""
            self.wrong.append(f"{operation.name}: {point}{twice}: {type(error).__name__}: {error}")
            print(f"    WRONG {self.wrong[-1]}", flush=True)  # noqa: T201  # what it is for
            self.covered += 1
            return None
        self.covered += result.reached
        self.missed += not result.reached
        self.lost += result.lost_events
        self.slowest_boot_s = max(self.slowest_boot_s, result.boot_s)
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when anything was wrong."""
    options = _options(arguments)
    wanted = [operation for operation in OPERATIONS if not options.operation or operation.name in options.operation]
    began = time.monotonic()
    with runs.Worlds() as worlds:
        campaign = Campaign(worlds)
        for operation in wanted:
            _run(campaign, operation, options)
    print(  # noqa: T201
        f"{campaign.covered} points of {len(wanted)} operations covered in {time.monotonic() - began:.0f} s, "
        f"{campaign.missed} not passed again, {len(campaign.wrong)} wrong, "
        f"{campaign.lost} acknowledged events lost, slowest start {campaign.slowest_boot_s:.1f} s"
    )
    return 1 if campaign.wrong or campaign.lost else 0


def _run(campaign: Campaign, operation: Operation, options: argparse.Namespace) -> None:
    chance = random.Random(options.seed)
    found = [point for point in campaign.points(operation) if options.point in str(point)]
    chosen = runs.choose(found, options.count or len(found), options.seed)
    print(f"{operation.name}: {len(chosen)} of {len(found)} points", flush=True)  # noqa: T201
    for point in chosen:
        result = campaign.attempt(operation, point)
        if options.twice and result is not None and result.recovery:
            campaign.attempt(operation, point, chance.choice(result.recovery))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash-points", description=__doc__)
    parser.add_argument("--operation", action="append", help="only this one (repeatable)")
    parser.add_argument("--point", default="", help="only points whose description contains this")
    parser.add_argument("--count", type=int, default=0, help="points of each operation; all by default")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    parser.add_argument("--twice", action="store_true", help="after each crash one more, in the recovery from the same")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
