"""The programs of the host that the engine stands on; without it a missing one would show in somebody's container."""

import re
import shutil
import subprocess
from collections.abc import Mapping

import anyio
import msgspec

from daemon.shapes.information import Component
from events.errors import Unavailable

VERSION_TIMEOUT_S = 10.0
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INITS = ("tini-static", "catatonit", "tini")  # a container may have no libraries: what needs none comes first
_VERSION = re.compile(r"v?(\d+\.\d[\w.+~-]*)")
_COMMIT = re.compile(r"^commit:\s*(\S+)", re.MULTILINE)


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A program and the Debian package that has it."""

    name: str
    package: str


# What every engine needs; what depends on the configuration is added in `find_tools`.
REQUIRED = (
    Tool(name="nats-server", package="nats-server"),
    Tool(name="conmon", package="conmon"),
    Tool(name="runc", package="runc"),
    Tool(name="ps", package="procps"),
    Tool(name="setpriv", package="util-linux"),
    Tool(name="cp", package="coreutils"),
    Tool(name="sync", package="coreutils"),
)


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute paths."""

    nats_server: str
    conmon: str
    runtimes: dict[str, str]  # by name, `runc` among them
    init: str = ""  # for containers with an init of the engine's; "" when the host has none
    iptables: str = ""  # for the chain that dockerd keeps for others; "" when the host has none
    apparmor_parser: str = ""  # for the default profile; "" when the host has none


class MissingTools(Unavailable):
    """The host lacks programs; the text has a line for each, with its package."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        super().__init__("\n".join(f"missing: {line}" for line in lines))


def find_tools(runtimes: Mapping[str, str], *, init: bool, path: str = SEARCH_PATH) -> Tools:
    """Where everything is. `runtimes` are those of the configuration (name -> path), without runc.

    `init`: containers get an init unless they say otherwise.
    Raises MissingTools that names all that is missing, not only the first.
    """
    found = {tool.name: _which(tool.name, path) for tool in REQUIRED}
    missing = [f"{tool.name} (Debian package {tool.package})" for tool in REQUIRED if not found[tool.name]]
    others = {name: _which(program, path) for name, program in runtimes.items()}
    missing += [f"{runtimes[name]} (runtime {name} of the configuration)" for name in others if not others[name]]
    found_init = next(filter(None, (_which(name, path) for name in INITS)), "")
    if init and not found_init:
        missing.append("tini (Debian package tini)")
    if missing:
        raise MissingTools(tuple(missing))
    return Tools(
        nats_server=found["nats-server"],
        conmon=found["conmon"],
        runtimes={"runc": found["runc"], **others},
        init=found_init,
        iptables=_which("iptables", path),
        apparmor_parser=_which("apparmor_parser", path),
    )


async def components(tools: Tools) -> tuple[Component, ...]:
    """What `docker version` shows of them; one that doesn't tell its version is shown without."""
    programs = {"conmon": tools.conmon, **tools.runtimes, "nats-server": tools.nats_server}
    if tools.init:
        programs["docker-init"] = tools.init
    made: dict[str, Component] = {}

    async def ask(name: str, program: str) -> None:
        made[name] = component(name, await _version_text(program))

    async with anyio.create_task_group() as group:
        for name, program in programs.items():
            group.start_soon(ask, name, program)
    return tuple(made[name] for name in programs)


def component(name: str, text: str) -> Component:
    """Read what a program says when it is asked for its version."""
    version, commit = _VERSION.search(text), _COMMIT.search(text)
    details = {"GitCommit": commit[1]} if commit and commit[1] != "unknown" else {}
    return Component(name=name, version=version[1] if version else "", details=details)


async def _version_text(program: str) -> str:
    with anyio.move_on_after(VERSION_TIMEOUT_S):
        try:
            result = await anyio.run_process((program, "--version"), check=False, stdin=subprocess.DEVNULL)
        except OSError:
            return ""
        return result.stdout.decode(errors="replace")
    return ""


def _which(program: str, path: str) -> str:
    return shutil.which(program, path=path) or ""
