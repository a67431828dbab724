"""Everything that can happen to the engine itself, and what becomes of commands that change nothing."""

from typing import ClassVar

from events.base import Event
from events.sealed import Sealed


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


class LogRepaired(Event, frozen=True, kw_only=True):
    """Events after `kept` were damaged or missing and are set aside; before, the log's id was `earlier_log`."""

    TYPE: ClassVar[str] = "system.log_repaired"
    earlier_log: str
    kept: int  # last sequence
    lost: int  # last sequence that is known to have been there
    reason: str


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
    """What a client asked for was so already, or done by the same key before. Stream `command/<id>`."""

    TYPE: ClassVar[str] = "system.command_satisfied"
    command: str  # TYPE of the command; method and pattern where none had to be sent
    target: str  # the object it is about, as far as it is known


class RequestBegun(Event, frozen=True, kw_only=True):
    """A client asks for something by an `Idempotency-Key` for the first time. Stream `request/<id>`."""

    TYPE: ClassVar[str] = "system.request_begun"
    route: str  # method and pattern
    fingerprint: str  # tells the request from another by the same key


class RequestAnswered(Event, frozen=True, kw_only=True):
    """What a repeat by the same key is answered with. Stream `request/<id>`."""

    TYPE: ClassVar[str] = "system.request_answered"
    status: int  # of HTTP; 101: the connection was taken over
    headers: dict[str, str] = {}
    content_type: str = ""
    body: str = ""
    sealed: Sealed | None = None  # the body instead, where it may hold a secret


class OrphanRemoved(Event, frozen=True, kw_only=True):
    """Recovery found something with the engine's mark that no projection knows, and removed it."""

    TYPE: ClassVar[str] = "system.orphan_removed"
    kind: str  # "mount", "process", "link", "directory" ...
    name: str


class KeysExported(Event, frozen=True, kw_only=True):
    """Somebody was given the keys of sealed values, sealed to a public key. Stream `system/engine`."""

    TYPE: ClassVar[str] = "system.keys_exported"
    recipient: str  # SHA-256 of the public key, hexadecimal
    owners: int  # how many keys
