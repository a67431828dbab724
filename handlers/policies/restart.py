"""Whether a container that has ended is started again, and when: a function of what the log tells of it. Pure.

The rules and the back-off are dockerd's (https://docs.docker.com/engine/containers/start-containers-automatically).
"""

import msgspec

from events.messages.container import RestartPolicy
from events.projections.containers import Container

FIRST_DELAY_MS = 100
LONGEST_DELAY_MS = 60_000
_SETTLED_NS = 10 * 10**9  # who ran for that long begins with the first delay again


class NextRun(msgspec.Struct, frozen=True, kw_only=True):
    """A start by the policy: the how-manieth since somebody started the container, and how long after its end."""

    attempt: int
    delay_ms: int


def next_run(c: Container) -> NextRun | None:
    """For a container whose present run has ended; None when its policy leaves it as it is."""
    if c.ends_for_good or c.restarting or c.operation == "remove":
        return None
    if not _wants(c.host.restart_policy, c.exit_code, c.restart_count):
        return None
    return NextRun(attempt=c.restart_count + 1, delay_ms=_delay_ms(c))


def starts_with_the_engine(c: Container) -> bool:
    """For a container that doesn't run when the engine has come up. `always` starts also what was stopped by hand."""
    if c.operation or c.status not in ("created", "exited") or c.started_at_ns == 0:
        return False
    policy = c.host.restart_policy
    if c.manually_stopped and policy.name != "always":
        return False
    return _wants(policy, c.exit_code, c.restart_count)


def _wants(policy: RestartPolicy, exit_code: int, restart_count: int) -> bool:
    if policy.name == "on-failure":
        most = policy.maximum_retry_count
        return exit_code != 0 and (most == 0 or restart_count < most)
    return policy.name in ("always", "unless-stopped")


def _delay_ms(c: Container) -> int:
    ran_ns = c.finished_at_ns - c.started_at_ns
    if ran_ns >= _SETTLED_NS or not c.restart_delay_ms:
        return FIRST_DELAY_MS
    return min(2 * c.restart_delay_ms, LONGEST_DELAY_MS)
