"""How a container's health follows from its probes: status, failing streak and the next probe's time. Pure.

Rules and defaults are dockerd's (https://docs.docker.com/reference/dockerfile/#healthcheck).
"""

import msgspec

from events.messages.image import HealthcheckConfig

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
RESULTS_KEPT = 5
_SECOND_NS = 10**9
_INTERVAL_NS = _TIMEOUT_NS = 30 * _SECOND_NS
_START_INTERVAL_NS = 5 * _SECOND_NS
_RETRIES = 3


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When to probe and what to make of failures, defaults filled in."""

    interval_ns: int
    timeout_ns: int
    start_period_ns: int
    start_interval_ns: int
    retries: int


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One probe. `exit_code` is -1 where it didn't come to an end of its own."""

    started_ns: int
    ended_ns: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run; the newest result is the last."""

    status: str = STARTING
    failing_streak: int = 0
    results: tuple[ProbeResult, ...] = ()


def schedule(check: HealthcheckConfig) -> Schedule:
    """From a container's configuration."""
    return Schedule(
        interval_ns=check.interval or _INTERVAL_NS,
        timeout_ns=check.timeout or _TIMEOUT_NS,
        start_period_ns=check.start_period,
        start_interval_ns=check.start_interval or _START_INTERVAL_NS,
        retries=check.retries or _RETRIES,
    )


def next_probe_ns(plan: Schedule, status: str, age_ns: int) -> int:
    """How long after the last probe, or after the start, the next one is; `age_ns` is the run's."""
    if status == STARTING and age_ns < plan.start_period_ns:
        return plan.start_interval_ns
    return plan.interval_ns


def after_probe(health: Health, result: ProbeResult, plan: Schedule, started_at_ns: int) -> Health:
    """Failures within the start period of what was never healthy don't count."""
    results = (*health.results, result)[-RESULTS_KEPT:]
    if result.exit_code == 0:
        return Health(status=HEALTHY, results=results)
    if health.status == STARTING and result.started_ns - started_at_ns < plan.start_period_ns:
        return msgspec.structs.replace(health, results=results)
    streak = health.failing_streak + 1
    status = UNHEALTHY if streak >= plan.retries else health.status
    return Health(status=status, failing_streak=streak, results=results)
