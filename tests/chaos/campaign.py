"""Many seeds, and what all runs of one commit have shown together; without it a promise would rest on a handful.

Run by `ops/chaos`. Results are kept in a file for each commit, so that runs add up.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tests.chaos import seeds
from tests.chaos.seeds import Result
from tests.engines import ROOT

RESULTS = ROOT / ".chaos"
LONGEST_S = 5.0  # that a seed may take where nothing else keeps the machine busy
_SUMS = ("requests", "confirmed", "lost", "leaked", "visits", "failed_visits")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when anything was wrong."""
    options = _options(arguments)
    commit = commit_of_checkout()
    file = options.results or RESULTS / f"{commit}.jsonl"
    known = list(read(file))
    wanted = options.seed or list(_next(options.seeds, {result.seed for result in known}))
    began, found = time.monotonic(), []
    with seeds.Worlds() as worlds:
        for seed in wanted:
            found.append(attempt(worlds, seed))
            append(file, found[-1])
            _tell(found[-1])
    print(f"{len(found)} seeds in {time.monotonic() - began:.0f} s; all runs of commit {commit}:")  # noqa: T201
    print(summary([*known, *found]) + f"\n  every result: {file}")  # noqa: T201
    return 1 if any(result.wrong for result in found) else 0


def attempt(worlds: seeds.Worlds, seed: int) -> Result:
    """One seed, whatever comes of it."""
    try:
        with worlds.sound() as world:
            result = seeds.run(world, seed)
    except Exception as error:  # noqa: BLE001  # no engine to try it with: the other seeds are tried too
        return Result(seed=seed, wrong=(f"{type(error).__name__}: {error}",))
    if result.wrong:
        worlds.discard()
    return result


def summary(results: Sequence[Result]) -> str:
    """What a doubter wants to know."""
    points = {result.point for result in results if result.point}
    again = {result.recovery_point for result in results if result.recovery_point}
    operations = {point.partition(" ")[0] for point in points}
    times = sorted(result.recovery_s for result in results if result.recovery_s)
    total = {name: sum(getattr(result, name) for result in results) for name in _SUMS}
    names = {point.partition(" ")[2] for point in points}
    median_s, worst_s = (statistics.median(times), max(times)) if times else (0.0, 0.0)
    return f"""\
  {len({r.seed for r in results})} seeds, {total["requests"]} requests, {total["confirmed"]} confirmed
  {len(points)} crash points x operations covered ({len(names)} points, {len(operations)} operations),
    and {len(again)} points of recovery
  {total["lost"]} acknowledged events lost, {total["leaked"]} resources leaked
  {total["visits"]} visits of a published port, {total["failed_visits"]} failed
  recovery: median {median_s:.2f} s, worst {worst_s:.2f} s
  {_lengths(results)}
  wrong seeds: {_numbers(results)}"""


def _lengths(results: Sequence[Result]) -> str:
    if not results:
        return "no seed"
    slowest = max(results, key=lambda result: result.whole_s)
    median_s = statistics.median(result.whole_s for result in results)
    too_long = sum(result.whole_s > LONGEST_S for result in results)
    return (
        f"a seed: median {median_s:.1f} s, slowest {slowest.whole_s:.1f} s (seed {slowest.seed}), "
        f"{too_long} took more than {LONGEST_S:.0f} s"
    )


def _numbers(results: Sequence[Result]) -> str:
    return ", ".join(str(result.seed) for result in results if result.wrong) or "none"


def _tell(result: Result) -> None:
    print(f"seed {result.seed}: {result.whole_s:.1f} s, {result.point or 'at some time'}", flush=True)  # noqa: T201
    if result.wrong:  # the file has the rest
        print("    WRONG " + "\n    ".join(result.wrong[0].splitlines()), flush=True)  # noqa: T201


def read(file: Path) -> Iterator[Result]:
    """What earlier runs have found."""
    if file.exists():
        for line in file.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=Result)


def append(file: Path, result: Result) -> None:
    """Add what this run has found."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as target:
        target.write(msgspec.json.encode(result) + b"\n")


def _next(count: int, known: set[int]) -> Iterator[int]:
    """Seeds that were not tried yet."""
    seed = 0
    while count:
        seed += 1
        if seed not in known:
            count -= 1
            yield seed


def commit_of_checkout() -> str:
    """With a `+` when files were changed since; "unversioned" where there is no git."""

    def ask(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = ask("rev-parse", "--short=12", "HEAD")
    return f"{commit}{'+' if ask('status', '--porcelain') else ''}" if commit else "unversioned"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many that this commit was not tried with yet")
    parser.add_argument("--seed", type=int, action="append", help="just this one (repeatable)")
    parser.add_argument("--results", type=Path, help="another file for the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
