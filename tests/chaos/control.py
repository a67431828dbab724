"""The test's side of `daemon/failpoints.py`: what the daemon is to do at which point, and where it has done so."""

from pathlib import Path

from daemon.failpoints import PASSED, PLAN, VARIABLE


class Control:
    """A directory of its own for each daemon."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon must be started with."""
        return {VARIABLE: str(self._directory)}

    def plan(self, *rules: str) -> None:
        """From now on; none lets it live. What was passed before is forgotten."""
        (self._directory / PASSED).unlink(missing_ok=True)
        draft = self._directory / f"{PLAN}.new"
        draft.write_text("\n".join(rules))
        draft.rename(self._directory / PLAN)

    def passed(self) -> tuple[str, ...]:
        """`<operation> <point>` of each rule that was acted on, in order."""
        file = self._directory / PASSED
        return tuple(file.read_text().splitlines()) if file.exists() else ()
