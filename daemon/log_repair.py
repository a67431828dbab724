"""`shiplogd --repair`: without it a damaged log would need somebody who knows its files."""

from collections.abc import Iterator
from functools import partial

import anyio

from daemon.config import Configuration
from events.checkpoints import Checkpoint, Signer
from events.envelope import ENGINE, Cause
from events.errors import EngineError
from events.log import Append
from events.log_directory import segments
from events.messages.system import LogRepaired
from events.older_segments import OlderSegment
from events.repair import Repair, repair
from events.snapshot_directory import SnapshotDirectory
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock

STREAM = "system/engine"


def repair_log(configuration: Configuration) -> Iterator[str]:
    """Repair the log of an engine that doesn't run; what was done, line by line. Raises EngineError, OSError."""
    root = configuration.instance.data_root
    snapshots = SnapshotDirectory(root / "snapshots")
    checkpoints = _checkpoints(configuration)
    done = repair(root / "log", checkpoints, snapshots.sequences())
    if done is None:
        yield "the log verifies: nothing was changed"
        return
    snapshots.remove_all()
    anyio.run(partial(_record, configuration, done))
    yield from done.lines()


def _checkpoints(configuration: Configuration) -> list[Checkpoint]:
    """Those of this log, as far as its id can be read."""
    root = configuration.instance.data_root
    for path in reversed(segments(root / "log")):
        try:
            log_id = OlderSegment.read(path).rows.identity.id
        except EngineError:
            continue
        return Signer.open(root / "checkpoints").kept(log_id)
    return []


async def _record(configuration: Configuration, done: Repair) -> None:
    """The first event after the repair tells of it."""
    cause = Cause(actor=ENGINE, command_id=f"repair-{done.new}", correlation_id="repair")
    event = LogRepaired(earlier_log=done.old, kept=done.kept, lost=done.lost, reason=done.reason)
    async with SqliteLog.open(configuration.instance.data_root / "log", SystemClock()) as log:
        await log.append([Append(stream=STREAM, events=(event,))], cause=cause)
