"""How processes ended, as conmon left it on disk; without it a restart of the daemon would lose exit codes.

An exit file holds decimal digits. It is written twice, on two file systems: a full one loses it in silence.
"""

from pathlib import Path

from handlers.exec.drivers.record import Record
from handlers.exec.ports import ExitStatus
from handlers.kernel.readiness import wait_any

UNKNOWN_EXIT_CODE = 255


def of_run(exits: Path, container_id: str, directory: Path, record: Record | None) -> ExitStatus | None:
    """The exit of a container's last run; None when there is no trace. `record` is None after a reboot."""
    run = record.run if record else _newest(exits)
    out_of_memory = record is not None and _out_of_memory(directory, record)
    return _first((exits / str(run) / container_id, directory / "persist" / "exit"), run, oom_killed=out_of_memory)


def of_exec(directory: Path, container_id: str) -> ExitStatus | None:
    """The exit of an exec; None when there is no trace."""
    return _first((directory / "exits" / container_id, directory / "persist" / "exit"), 0, oom_killed=False)


async def end_of(record: Record) -> None:
    """Return when the process has ended and its conmon has written how, or when conmon is lost and it has ended."""
    monitor = record.monitor()
    if monitor is not None:
        with monitor:
            await wait_any((monitor.fileno(),))
    process = record.process()  # only a lost conmon leaves one behind
    if process is not None:
        with process:
            await wait_any((process.fileno(),))


def _newest(exits: Path) -> int:
    try:
        return max((int(place.name) for place in exits.iterdir() if place.name.isdecimal()), default=0)
    except FileNotFoundError:
        return 0


def _first(paths: tuple[Path, ...], run: int, *, oom_killed: bool) -> ExitStatus | None:
    for path in paths:
        try:
            code, finished = int(path.read_text()), path.stat().st_mtime_ns
        except (OSError, ValueError):
            continue
        return ExitStatus(exit_code=code, oom_killed=oom_killed, finished_at_ns=finished, run=run)
    return None


def _out_of_memory(directory: Path, record: Record) -> bool:
    """Whether any process of the container was killed for want of memory, which is what Docker's OOMKilled says."""
    return (directory / "oom").exists() or (record.cgroup is not None and record.cgroup.oom_kills() > 0)
