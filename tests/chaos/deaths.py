"""How a daemon ends: at a point, at a point of one command, or at any time; and perhaps once more while it recovers.

Some have a driver fail before that, in a way that was thought of or not: what can't be undone then is told by its
container, and goes with it.
"""

import random

import msgspec

COMMANDS = (
    "container.create",
    "container.start",
    "container.stop",
    "container.kill",
    "container.restart",
    "container.remove",
    "container.rename",
    "container.settle_exit",
    "container.pause",
    "container.unpause",
    "container.commit",
    "container.update",
    "container.put_archive",
    "container.start_again",
    "exec.create",
    "exec.start",
    "exec.prepare_process",
    "exec.create_process",
    "exec.start_process",
    "exec.signal_process",
    "exec.freeze_process",
    "exec.update_process",
    "exec.delete_process",
    "exec.remove_process_files",
    "image.load",
    "image.import",
    "image.pull",
    "image.push",
    "image.prune",
    "image.commit",
    "image.tag",
    "image.remove",
    "image.acquire",
    "image.release",
    "layer.apply",
    "layer.create_container_layer",
    "layer.mount",
    "layer.unmount",
    "layer.release",
    "layer.hold",
    "layer.archive_changes",
    "layer.extract_into_container",
    "layer.remove_container_layer",
    "network.open_sandbox",
    "network.connect_sandbox",
    "network.update_links",
    "network.disconnect_sandbox",
    "network.remove_sandbox_files",
    "volume.create",
    "volume.acquire",
    "volume.populate",
    "volume.mount",
    "volume.unmount",
    "volume.release",
    "volume.remove",
)
FAULTS = 0.2  # of seeds: a driver fails once
_SLOW = "*/{step}=delay:{seconds}@{first}*3"
_NUMBERS = (1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12, 15)  # the first ones come for sure
_DRIVERS = "graph runtime bridge ports local content keys files registry".split()
_STEPS = (*(f"{driver}.*/*" for driver in _DRIVERS), "*_requested/*")


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for `daemon/failpoints.py`, and when the daemon is killed from outside if no rule does it."""

    rules: tuple[str, ...] = ()
    after_s: float
    recovery_rule: str = ""

    @property
    def has_fault(self) -> bool:
        """Whether a driver is to fail, not the daemon."""
        return any("=error" in rule or "=panic" in rule for rule in self.rules)


def choose(chance: random.Random, longest_s: float) -> Death:
    """A death from a seed; work that no rule ends goes on for `longest_s`."""
    rules = []
    if chance.random() < 0.25:
        slow = _SLOW.format(step=chance.choice(_STEPS), seconds=chance.choice(("0.05", "0.3")), first=1)
        rules.append(slow)
    if chance.random() < FAULTS:
        side, driver = chance.choice(("before", "after")), chance.choice(_DRIVERS)
        action = chance.choice(("error", "error", "panic"))
        rules.append(f"[cilnve]*.*/{driver}.*/{side}={action}@{chance.choice(_NUMBERS)}*1")
    kind, after_s = chance.random(), longest_s
    if kind < 0.5:
        # whichever comes first; what the engine says of itself (`system.*`) isn't what is to be hit
        rules += [f"{command}/[!s]*=kill@{chance.choice(_NUMBERS)}" for command in chance.sample(COMMANDS, 3)]
    elif kind < 0.75:
        rules.append(f"*=kill@{chance.randrange(1, 500)}")
    else:
        after_s = chance.uniform(0.02, longest_s)
    recovery = ""
    if chance.random() < 0.35:
        recovery = chance.choice(("recovery/*", "*")) + f"=kill@{chance.randrange(1, 40)}"
    return Death(rules=tuple(rules), after_s=after_s, recovery_rule=recovery)
