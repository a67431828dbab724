"""`update`: other limits for containers, running or not."""

from typing import Any

import click

from clients.api import Client
from clients.cli.app import HELP, engine_command, for_each
from clients.cli.commands.containers import names_of_containers
from clients.cli.create_body import memory_bytes, nano_cpus, restart_policy_of


@click.command(short_help="Change the limits of containers while they run", context_settings=HELP)
@click.option("--blkio-weight", type=int, default=None, help="Share of block I/O, 10 to 1000")
@click.option("--cpu-period", type=int, default=None, help="CFS period in microseconds")
@click.option("--cpu-quota", type=int, default=None, help="CFS quota in microseconds")
@click.option("-c", "--cpu-shares", type=int, default=None, help="Relative weight")
@click.option("--cpus", default="", help="Number of CPUs")
@click.option("--cpuset-cpus", default="", help="CPUs it may run on (0-3, 0,1)")
@click.option("--cpuset-mems", default="", help="Memory nodes it may use")
@click.option("-m", "--memory", default="", help="Memory limit")
@click.option("--memory-reservation", default="", help="Soft memory limit")
@click.option("--memory-swap", default="", help="Memory and swap together; -1 is without limit")
@click.option("--pids-limit", type=int, default=None, help="Number of processes; -1 is without limit")
@click.option("--restart", "restart_policy", default="", help="no, on-failure[:N], always, unless-stopped")
@names_of_containers
@engine_command
async def update(
    client: Client,
    blkio_weight: int | None,
    cpu_period: int | None,
    cpu_quota: int | None,
    cpu_shares: int | None,
    cpus: str,
    cpuset_cpus: str,
    cpuset_mems: str,
    memory: str,
    memory_reservation: str,
    memory_swap: str,
    pids_limit: int | None,
    restart_policy: str,
    names: tuple[str, ...],
) -> int:
    """Change limits and the restart policy of containers, running or not."""
    given: dict[str, Any] = {
        "BlkioWeight": blkio_weight,
        "CpuPeriod": cpu_period,
        "CpuQuota": cpu_quota,
        "CpuShares": cpu_shares,
        "NanoCpus": nano_cpus(cpus) if cpus else None,
        "CpusetCpus": cpuset_cpus or None,
        "CpusetMems": cpuset_mems or None,
        "Memory": memory_bytes(memory) if memory else None,
        "MemoryReservation": memory_bytes(memory_reservation) if memory_reservation else None,
        "MemorySwap": memory_bytes(memory_swap) if memory_swap else None,
        "PidsLimit": pids_limit,
        "RestartPolicy": restart_policy_of(restart_policy) if restart_policy else None,
    }
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("you must provide one or more flags when using this command")

    async def one(name: str) -> None:
        updated = await client.post(f"/containers/{name}/update", dict[str, Any], None, body)
        for warning in updated.get("Warnings") or ():
            click.echo(f"WARNING: {warning}", err=True)

    return await for_each(names, one)
