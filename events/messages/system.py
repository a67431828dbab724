"""Everything that can happen to the engine itself, and what becomes of commands that change nothing."""

from typing import ClassVar

from events.base import Event


class EngineStarted(Event, frozen=True, kw_only=True):
    """A daemon opened this log. Stream `system/engine`."""

    TYPE: ClassVar[str] = "system.engine_started"
    version: str
    boot_id: str  # of the kernel: another one means a reboot
    pid: int


class EngineStopped(Event, frozen=True, kw_only=True):
    """It ended in order; containers go on."""

    TYPE: ClassVar[str] = "system.engine_stopped"
    reason: str


class EngineReloaded(Event, frozen=True, kw_only=True):
    """Its configuration file was read again; `changed` are its keys."""

    TYPE: ClassVar[str] = "system.engine_reloaded"
    changed: tuple[str, ...]


class ClockJumped(Event, frozen=True, kw_only=True):
    """The wall clock ran backwards by this much."""

    TYPE: ClassVar[str] = "system.clock_jumped"
    backwards_ns: int


class CommandRefused(Event, frozen=True, kw_only=True):
    """A command that a client asked for was refused or failed. Stream `command/<id>`."""

    TYPE: ClassVar[str] = "system.command_refused"
    command: str  # TYPE of the command
    target: str  # the object it was about, as far as it is known
    kind: str
    reason: str


class CommandSatisfied(Event, frozen=True, kw_only=True):
    """A client's command found everything as it asks for: nothing had to change. Stream `command/<id>`."""

    TYPE: ClassVar[str] = "system.command_satisfied"
    command: str  # TYPE of the command
    target: str  # the object it is about, as far as it is known


class OrphanRemoved(Event, frozen=True, kw_only=True):
    """Recovery found something with the engine's mark that no projection knows, and removed it."""

    TYPE: ClassVar[str] = "system.orphan_removed"
    kind: str  # "mount", "process", "link", "directory" ...
    name: str
