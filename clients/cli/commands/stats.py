"""`stats`: what containers use, live."""

import sys
from collections.abc import Mapping
from typing import Any

import anyio
import click

from clients.api import ApiError, Client
from clients.cli import completion, human
from clients.cli.app import HELP, engine_command
from clients.cli.listing import Column, Listing, Row, show

LISTING = Listing(
    columns=(
        Column("ID", "CONTAINER ID"),
        Column("Name", "NAME"),
        Column("CPUPerc", "CPU %"),
        Column("MemUsage", "MEM USAGE / LIMIT"),
        Column("MemPerc", "MEM %"),
        Column("NetIO", "NET I/O"),
        Column("BlockIO", "BLOCK I/O"),
        Column("PIDs", "PIDS"),
    ),
    titles={
        "Container": "CONTAINER",
        "ID": "CONTAINER ID",
        "Name": "NAME",
        "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT",
        "MemPerc": "MEM %",
        "NetIO": "NET I/O",
        "BlockIO": "BLOCK I/O",
        "PIDs": "PIDS",
    },
    quiet="ID",
)
_CLEAR = "\033[2J\033[H"
_PAUSE_S = 1.0
_SHORT_ID = 12


@click.command(short_help="Show what containers use, live", context_settings=HELP)
@click.option("-a", "--all", "everything", is_flag=True, help="All containers, not only running ones")
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("--no-stream", is_flag=True, help="Once, then end")
@click.option("--no-trunc", is_flag=True, help="Don't shorten what is shown")
@click.argument("names", nargs=-1, metavar="[CONTAINER...]", shell_complete=completion.running)
@engine_command
async def stats(
    client: Client, everything: bool, format_: str, no_stream: bool, no_trunc: bool, names: tuple[str, ...]
) -> None:
    """Show CPU, memory, network and block I/O of containers; of all that run unless some are named."""
    while True:
        wanted = names or await _all(client, everything=everything)
        rows = await _rows(client, wanted, whole=no_trunc)
        if not no_stream and sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        show(LISTING, rows, format_)
        sys.stdout.flush()
        if no_stream:
            return
        await anyio.sleep(_PAUSE_S)


async def _all(client: Client, *, everything: bool) -> tuple[str, ...]:
    found = await client.get("/containers/json", list[dict[str, Any]], {"all": everything})
    return tuple(container["Id"] for container in found)


async def _rows(client: Client, names: tuple[str, ...], *, whole: bool) -> list[Row]:
    """All at once: each answer takes a second, since it needs two readings."""
    rows: dict[str, Row] = {}
    failures: list[ApiError] = []

    async def one(name: str) -> None:
        try:
            found = await client.get(f"/containers/{name}/stats", dict[str, Any], {"stream": False})
            rows[name] = row_of(found, name, whole=whole)
        except ApiError as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    if failures:
        raise failures[0]
    return [rows[name] for name in names]


def row_of(found: Mapping[str, Any], name: str, *, whole: bool) -> Row:
    """A reading as a row."""
    memory: Mapping[str, Any] = found.get("memory_stats") or {}
    usage, limit = _used_memory(memory), memory.get("limit") or 0
    networks: Mapping[str, Any] = found.get("networks") or {}
    received = sum(each["rx_bytes"] for each in networks.values())
    sent = sum(each["tx_bytes"] for each in networks.values())
    read, written = _block_io(found)
    identity = found.get("id") or name
    return {
        "Container": name,
        "ID": identity if whole else identity[:_SHORT_ID],
        "Name": str(found.get("name", "")).removeprefix("/"),
        "CPUPerc": f"{cpu_percent(found):.2f}%",
        "MemUsage": f"{human.binary_size(usage)} / {human.binary_size(limit)}",
        "MemPerc": f"{100 * usage / limit if limit else 0:.2f}%",
        "NetIO": f"{human.size(received, 3)} / {human.size(sent, 3)}",
        "BlockIO": f"{human.size(read, 3)} / {human.size(written, 3)}",
        "PIDs": str((found.get("pids_stats") or {}).get("current", 0)),
    }


def _used_memory(memory: Mapping[str, Any]) -> int:
    """Without the page cache that the kernel can drop: cgroup v1 and v2 name it differently."""
    usage, details = memory.get("usage") or 0, memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return usage - cache if cache < usage else usage


def cpu_percent(found: Mapping[str, Any]) -> float:
    """Of one CPU, between the two readings."""
    now, before = found.get("cpu_stats") or {}, found.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    processors = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ()) or 1
    return used / passed * processors * 100 if used > 0 and passed > 0 else 0.0


def _block_io(found: Mapping[str, Any]) -> tuple[int, int]:
    entries = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    totals = {"r": 0, "w": 0}
    for entry in entries:
        kind = str(entry["op"])[:1].lower()
        if kind in totals:
            totals[kind] += entry["value"]
    return totals["r"], totals["w"]
