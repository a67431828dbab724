"""What an event says of the command that led to it; without it every reader would have its own list of words.

Tags are `<noun>.<past>`: an intent ends in `_requested`, a failure in `_failed`, anything else says that it is done.
"""

from functools import lru_cache
from typing import Final, NamedTuple

REQUESTED: Final = "requested"
DONE: Final = "done"
FAILED: Final = "failed"
REFUSED: Final = "refused"
OUTCOMES: Final = (REQUESTED, DONE, FAILED, REFUSED)

COMMAND_REFUSED: Final = "system.command_refused"  # its field `command` names the command itself

_INTENTS: Final = {"container.exit_observed": "container.settle_exit"}
_VERBS: Final = {
    "accessed": "record_access",
    "acquired": "acquire",
    "applied": "apply",
    "created": "create",
    "died": "settle_exit",
    "exited": "exit",
    "held": "hold",
    "imported": "import",
    "killed": "kill",
    "loaded": "load",
    "mounted": "mount",
    "paused": "pause",
    "populated": "populate",
    "released": "release",
    "removed": "remove",
    "renamed": "rename",
    "restarted": "restart",
    "sandbox_connected": "connect_sandbox",
    "sandbox_connect": "connect_sandbox",
    "sandbox": "connect_sandbox",
    "sandbox_disconnected": "disconnect_sandbox",
    "started": "start",
    "stopped": "stop",
    "tagged": "tag",
    "unmounted": "unmount",
    "unpaused": "unpause",
    "untagged": "untag",
}


class Told(NamedTuple):
    """A command by its TYPE, and how it stands after the event."""

    command: str
    outcome: str


@lru_cache(maxsize=1024)
def told_by(tag: str) -> Told:
    """Read an event's tag; a word that isn't known here stands for itself."""
    if tag in _INTENTS:
        return Told(_INTENTS[tag], REQUESTED)
    noun, _, past = tag.partition(".")
    for ending, outcome in (("_requested", REQUESTED), ("_failed", FAILED)):
        if past.endswith(ending):
            verb = past.removesuffix(ending)
            return Told(f"{noun}.{_VERBS.get(verb, verb)}", outcome)
    if tag == COMMAND_REFUSED:
        return Told(tag, REFUSED)
    return Told(f"{noun}.{_VERBS.get(past, past)}", DONE)
