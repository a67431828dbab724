"""The real daemon with a trigger at every step: what it has a name for, and every call that changes the host.

Started as `python -m tests.crashing` with the daemon's own arguments; the directory of `points.Control` comes in an
environment variable. Nothing of the daemon is replaced, only surrounded.
"""

import functools
import importlib
import itertools
import os
import re
import runpy
import sys
import threading
from pathlib import Path

from typing_extensions import override

from daemon.failpoints import Failpoints, point_name
from tests.crashing.points import DIRECTORY_VARIABLE, Trigger

# https://docs.python.org/3/library/audit_events.html
CALLS = frozenset(
    "os.chmod os.link os.mkdir os.posix_spawn os.remove os.rename os.rmdir os.symlink os.truncate".split()
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_IDENTIFIER = re.compile(r"[0-9a-f]{16,64}")


class Hooks:
    """Surrounds the daemon's parts."""

    def __init__(self, trigger: Trigger, roots: tuple[str, ...]) -> None:
        self._trigger, self._roots = trigger, roots
        self._own = threading.local()  # the trigger writes files too

    def surround_log(self) -> None:
        """Appends that return: what was acknowledged must be there afterwards."""
        log = importlib.import_module("events.sqlite_log").SqliteLog
        append, trigger = log.append, self._trigger

        async def surrounded(self, appends, **keywords):
            recorded = await append(self, appends, **keywords)
            trigger.acknowledge(recorded[-1].sequence)
            return recorded

        log.append = surrounded

    def name_points(self) -> None:
        """Every point that the daemon has a name for: appends, commands to one another, drivers."""
        named = _Named(self._trigger)
        setattr(Failpoints, "of", lambda _: named)  # noqa: B010  # for this process

    def surround_kernel(self) -> None:
        """What changes the host and isn't a function of Python's: mounts, namespaces, links, firewall."""
        calls = importlib.import_module("handlers.kernel.calls")
        netlink = importlib.import_module("handlers.kernel.netlink").Netlink
        nftables = importlib.import_module("handlers.kernel.nftables").Nftables
        surrounded = self._before(calls.call, lambda name, *_, **keywords: f"{name} {keywords['what']}")
        for name in ("mounts", "namespaces"):
            vars(importlib.import_module(f"handlers.kernel.{name}"))["call"] = surrounded
        netlink.request = self._before(netlink.request, lambda _, *messages, **__: " ".join(map(_message, messages)))
        nftables.run = self._before(nftables.run, lambda _, commands: "" if commands.startswith("list") else "nftables")

    def _before(self, function, tell):
        """Pass a point before each call that `tell` has a text for."""

        @functools.wraps(function)
        def surrounded(*arguments, **keywords):
            if subject := tell(*arguments, **keywords):
                self._trigger.passes("host", self._plain(subject), "before")
            return function(*arguments, **keywords)

        return surrounded

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Calls that change files below the engine's directories, and new processes."""
        if getattr(self._own, "busy", False) or not (event in CALLS or event == "open"):
            return
        path = arguments[0]
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if event == "os.posix_spawn":
            text = Path(text).name
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
            return
        if event != "os.posix_spawn" and not text.startswith(self._roots):
            return
        self._own.busy = True
        try:
            self._trigger.passes("host", f"{event} {self._plain(text)}", "before")
        finally:
            self._own.busy = False

    def _plain(self, text: str) -> str:
        """Without what differs from run to run."""
        for root in self._roots:
            text = text.replace(root, Path(root).name)
        return _IDENTIFIER.sub("*", text)


class _Named(Failpoints):
    """Asks the trigger instead of a plan of its own."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__(Path())
        self._trigger = trigger

    @override
    async def passes(self, step: str, side: str) -> None:
        self._trigger.passes("step", point_name(step, side), side)


def _message(message) -> str:
    """The kind of a netlink message."""
    return f"{type(message).__name__} {message['header']['type']}"


def roots(arguments: list[str]) -> tuple[str, ...]:
    """The engine's directories, from its flags."""
    return tuple(value for flag, value in itertools.pairwise(arguments) if flag.endswith("-root"))


def main() -> None:
    """Surround, then run the daemon as `python -m daemon` does."""
    hooks = Hooks(Trigger(Path(os.environ[DIRECTORY_VARIABLE])), roots(sys.argv))
    hooks.surround_log()
    hooks.name_points()
    hooks.surround_kernel()
    sys.addaudithook(hooks.audit)
    runpy.run_module("daemon", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
