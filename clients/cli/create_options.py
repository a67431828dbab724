"""The flags of `create` and `run`, in one table; names, short forms and meanings are the docker CLI's."""

from collections.abc import Callable
from typing import Any

import click

from clients.cli import completion

Decorated = Callable[..., Any]
_TEXT: tuple[tuple[str, ...], ...] = (
    ("--cgroup-parent", "Parent control group of the container"),
    ("--cgroupns", "Control group namespace: host or private"),
    ("--cidfile", "Write the container's ID to this file"),
    ("--cpus", "Number of CPUs, such as 1.5"),
    ("--cpuset-cpus", "CPUs it may run on (0-3, 0,1)"),
    ("--cpuset-mems", "Memory nodes it may use (0-3, 0,1)"),
    ("--domainname", "NIS domain name"),
    ("--entrypoint", "Replace the image's entrypoint; '' clears it"),
    ("--health-cmd", "Command that finds out whether it is healthy"),
    ("--health-interval", "Time between two checks (1m30s)"),
    ("--health-start-interval", "Time between two checks during the start period"),
    ("--health-start-period", "How long it may take to come up before failures count"),
    ("--health-timeout", "Longest time that a check may take"),
    ("--hostname", "-h", "Host name inside"),
    ("--ip", "IPv4 address on its network"),
    ("--ip6", "IPv6 address on its network"),
    ("--ipc", "IPC namespace: private, shareable, none, host or container:NAME"),
    ("--isolation", "Isolation technology"),
    ("--kernel-memory", "Kernel memory limit (not with current kernels)"),
    ("--log-driver", "Where its output goes"),
    ("--mac-address", "MAC address of its interface"),
    ("--memory", "-m", "Memory limit, such as 512m"),
    ("--memory-reservation", "Soft memory limit"),
    ("--memory-swap", "Memory and swap together; -1 is without limit"),
    ("--name", "Name of the container"),
    ("--pid", "PID namespace: host or container:NAME"),
    ("--platform", "Platform of the image, such as linux/amd64"),
    ("--restart", "no, on-failure[:N], always or unless-stopped"),
    ("--runtime", "OCI runtime"),
    ("--shm-size", "Size of /dev/shm"),
    ("--stop-signal", "Signal that asks it to stop"),
    ("--user", "-u", "User, and group after a colon, by name or number"),
    ("--userns", "User namespace: host"),
    ("--uts", "UTS namespace: host"),
    ("--volume-driver", "Driver of the volumes that are made"),
    ("--workdir", "-w", "Working directory inside"),
)
_NUMBERS: tuple[tuple[str, ...], ...] = (
    ("--blkio-weight", "Share of block I/O, 10 to 1000"),
    ("--cpu-period", "CFS period in microseconds"),
    ("--cpu-quota", "CFS quota in microseconds"),
    ("--cpu-rt-period", "Real-time period in microseconds"),
    ("--cpu-rt-runtime", "Real-time runtime in microseconds"),
    ("--cpu-shares", "-c", "Relative weight"),
    ("--health-retries", "Failures in a row that make it unhealthy"),
    ("--memory-swappiness", "Readiness to swap, 0 to 100"),
    ("--oom-score-adj", "How soon the kernel ends it when memory runs out, -1000 to 1000"),
    ("--pids-limit", "Number of processes; -1 is without limit"),
    ("--stop-timeout", "Seconds between asking it to stop and killing it"),
)
_SWITCHES: tuple[tuple[str, ...], ...] = (
    ("--disable-content-trust", "As it always is: signatures are a matter of the engine's trust policy"),
    ("--init", "Run an init inside that passes signals on and reaps processes"),
    ("--interactive", "-i", "Keep its input open"),
    ("--no-healthcheck", "Without the image's health check"),
    ("--oom-kill-disable", "Don't let the kernel end it when memory runs out"),
    ("--privileged", "Nearly all that the host may"),
    ("--publish-all", "-P", "Publish all exposed ports to free ports of the host"),
    ("--quiet", "-q", "Without the progress of a pull"),
    ("--read-only", "Mount its root file system read-only"),
    ("--rm", "Remove it, and its anonymous volumes, when it has ended"),
    ("--tty", "-t", "Give it a terminal"),
)
_LISTS: tuple[tuple[str, ...], ...] = (
    ("--add-host", "Line of /etc/hosts, as host:ip; host-gateway is this host"),
    ("--annotation", "OCI annotation, as key=value"),
    ("--attach", "-a", "Attach to stdin, stdout or stderr"),
    ("--blkio-weight-device", "Share of a device's I/O, as /dev/x:weight"),
    ("--cap-add", "Capability it gets"),
    ("--cap-drop", "Capability it loses"),
    ("--device", "Device of the host, as /dev/x[:/dev/y[:rwm]]"),
    ("--device-cgroup-rule", "Rule for devices, as 'c 1:3 rwm'"),
    ("--device-read-bps", "Limit of reads, as /dev/x:1mb"),
    ("--device-read-iops", "Limit of reads, as /dev/x:1000"),
    ("--device-write-bps", "Limit of writes, as /dev/x:1mb"),
    ("--device-write-iops", "Limit of writes, as /dev/x:1000"),
    ("--dns", "Name server"),
    ("--dns-option", "Option of resolv.conf"),
    ("--dns-search", "Search domain"),
    ("--env", "-e", "Environment variable, as NAME=VALUE; NAME alone is this shell's"),
    ("--env-file", "File of environment variables"),
    ("--expose", "Port or range that can be published"),
    ("--group-add", "Additional group"),
    ("--gpus", "GPUs to give it: all, a number, or 'device=...'"),
    ("--label", "-l", "Label, as key=value"),
    ("--label-file", "File of labels"),
    ("--link", "Container to reach by name, as NAME[:ALIAS]"),
    ("--link-local-ip", "Link-local address on its network"),
    ("--log-opt", "Option of the log driver, as key=value"),
    ("--mount", "Mount, as type=bind|volume|tmpfs,src=...,dst=...[,readonly]"),
    ("--network", "Network: a name, bridge, host, none or container:NAME"),
    ("--network-alias", "Its name on the network"),
    ("--publish", "-p", "Port to publish, as [[IP:]HOST:]CONTAINER[/tcp|udp|sctp]"),
    ("--security-opt", "Such as no-new-privileges, seccomp=FILE, apparmor=PROFILE"),
    ("--storage-opt", "Option of the storage driver, such as size=10G"),
    ("--sysctl", "Kernel parameter, as key=value"),
    ("--tmpfs", "tmpfs to mount, as /path[:options]"),
    ("--ulimit", "Limit, as name=soft[:hard]"),
    ("--volume", "-v", "Volume or directory to mount, as [SOURCE:]PATH[:ro]"),
    ("--volumes-from", "Container whose volumes are mounted too, as NAME[:ro]"),
)
_NAMES = {
    "--link": completion.containers,
    "--network": completion.networks,
    "--volume": completion.volumes,
    "--volumes-from": completion.containers,
}


def create_options(function: Decorated) -> Decorated:
    """All of them, on a command; they arrive as keyword arguments, without a value as "", None, False or ()."""
    table: list[Decorated] = []
    for *names, about in _TEXT:
        table.append(click.option(*names, default=None if names[0] == "--entrypoint" else "", help=about))
    for *names, about in _NUMBERS:
        table.append(click.option(*names, type=int, default=None, help=about))
    for *names, about in _SWITCHES:
        table.append(click.option(*names, is_flag=True, help=about))
    for *names, about in _LISTS:
        table.append(click.option(*names, multiple=True, help=about, shell_complete=_NAMES.get(names[0])))
    table.append(
        click.option(
            "--pull",
            type=click.Choice(("always", "missing", "never")),
            default="missing",
            help="When to pull the image",
        )
    )
    table.append(click.argument("image", metavar="IMAGE", shell_complete=completion.images))
    table.append(click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [ARG...]"))
    for decorate in reversed(table):
        function = decorate(function)
    return function
