"""The endpoint that lists a container's processes as `ps` would."""

import os
import pwd
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
from anyio import to_thread

from daemon.api.answers import as_json
from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.api.lookup import visible_container
from daemon.http.messages import Answer, Request
from daemon.http.query import text
from daemon.shapes.go_values import JsonObject
from events.errors import Conflict, InvalidParameter, SystemFailure
from events.messages.container import RecordAccess
from handlers.containers.errors import NotRunning

DEFAULT_ARGUMENTS: Final = "-ef"
TITLES: Final = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_RENAMED_PID: Final = re.compile(r"\s*([^\s]*)=\s*(PID[^\s]*)")
_NAME_WIDTH: Final = 8
_PTS_MAJOR: Final = 136


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Titles of columns, and a row for every process."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]

    def shape(self) -> JsonObject:
        """The answer of top."""
        return {"Titles": self.titles, "Processes": self.processes}


async def top(engine: Engine, request: Request) -> Answer:
    """`GET /containers/{id}/top`."""
    arguments = text(request.query, "ps_args") or DEFAULT_ARGUMENTS
    check_arguments(arguments)
    container = visible_container(engine.state, request.parameters["id"])
    if container.status == "restarting":
        raise Conflict(f"Container {request.parameters['id']} is restarting, wait until the container is running")
    if not container.is_live:
        raise NotRunning(container.id)
    pids = await to_thread.run_sync(engine.processes, container.id)
    if arguments == DEFAULT_ARGUMENTS:
        table = await to_thread.run_sync(read_table, pids)
    else:
        table = parse_table(await engine.process_table(arguments.split()), frozenset(pids))
    await send(engine, request, RecordAccess(container=container.id, action="top"))
    return as_json(table.shape())


def check_arguments(arguments: str) -> None:
    """Another column by the name of PID would hide whose process a row is. Raises InvalidParameter."""
    for name, title in _RENAMED_PID.findall(arguments):
        if name != "pid":
            raise InvalidParameter(f'specifying "{name}={title}" is not allowed')


def parse_table(printed: str, pids: frozenset[int]) -> Table:
    """The rows of `ps` output that are about these processes. Raises SystemFailure."""
    lines = printed.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise SystemFailure("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = (tuple(line.split(maxsplit=len(titles) - 1)) for line in lines[1:])
    return Table(titles=titles, processes=tuple(row for row in rows if _is_of(row, column, pids)))


def _is_of(row: tuple[str, ...], column: int, pids: frozenset[int]) -> bool:
    return len(row) > column and row[column].isdecimal() and int(row[column]) in pids


# ---- the default columns, from /proc (proc(5)); no program is run for them


def read_table(pids: tuple[int, ...]) -> Table:
    """What `ps -ef` shows of these processes; one that has ended meanwhile is left out."""
    now_s, uptime_s = time.time_ns() / 1e9, float(Path("/proc/uptime").read_text().split()[0])
    rows = (_row(pid, now_s, uptime_s) for pid in sorted(pids))
    return Table(titles=TITLES, processes=tuple(row for row in rows if row))


def _row(pid: int, now_s: float, uptime_s: float) -> tuple[str, ...]:
    directory = Path(f"/proc/{pid}")
    try:
        stat = directory.joinpath("stat").read_text(errors="replace")
        command = directory.joinpath("cmdline").read_bytes()
        uid = directory.stat().st_uid
    except OSError:
        return ()
    name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
    ticks = os.sysconf("SC_CLK_TCK")
    used_s = (int(fields[11]) + int(fields[12])) / ticks
    age_s = max(uptime_s - int(fields[19]) / ticks, 0.0)
    return (
        user_name(uid),
        str(pid),
        fields[1],
        str(min(int(100 * used_s / age_s), 99) if age_s else 0),
        started(now_s - age_s, now_s),
        terminal(int(fields[4])),
        clock(int(used_s)),
        command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace") or f"[{name}]",
    )


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """The host's name of a user, cut as `ps` cuts it; the number where there is none."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}+"


def started(start_s: float, now_s: float) -> str:
    """`17:15` today, `Nov23` this year, else the year; in the host's time zone."""
    then, now = time.localtime(start_s), time.localtime(now_s)
    if then.tm_year != now.tm_year:
        return time.strftime("%Y", then)
    return time.strftime("%H:%M" if then.tm_yday == now.tm_yday else "%b%d", then)


def terminal(device: int) -> str:
    """`pts/0`; `?` without one."""
    major, minor = os.major(device), os.minor(device)
    return f"pts/{minor}" if major == _PTS_MAJOR else "?"


def clock(seconds: int) -> str:
    """`00:01:05`, with days before it where there are any."""
    days, rest = divmod(seconds, 86400)
    shown = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{shown}" if days else shown
