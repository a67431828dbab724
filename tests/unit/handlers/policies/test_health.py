"""What probes make of a container's health."""

import pytest

from events.messages.image import HealthcheckConfig
from handlers.policies.health import Health, ProbeResult, after_probe, next_probe_ns, schedule

SECOND_NS = 10**9
PLAN = schedule(HealthcheckConfig(retries=3, start_period=20 * SECOND_NS))


def probe(exit_code: int, at_s: float = 100) -> ProbeResult:
    return ProbeResult(
        started_ns=int(at_s * SECOND_NS), ended_ns=int(at_s * SECOND_NS) + 1, exit_code=exit_code, output=""
    )


def after(*results: ProbeResult, health: Health | None = None) -> Health:
    health = health or Health()
    for result in results:
        health = after_probe(health, result, PLAN, 0)
    return health


def test_the_defaults_are_dockers():
    found = schedule(HealthcheckConfig())
    assert (found.interval_ns, found.timeout_ns, found.start_interval_ns) == (
        30 * SECOND_NS,
        30 * SECOND_NS,
        5 * SECOND_NS,
    )
    assert (found.start_period_ns, found.retries) == (0, 3)


def test_three_failures_in_a_row_are_needed():
    assert after(probe(1), probe(1)).status == "starting"
    assert after(probe(1), probe(1), probe(0), probe(1), probe(1)).status == "healthy"
    assert after(probe(1), probe(1), probe(1)).status == "unhealthy"
    assert after(probe(-1), probe(127), probe(1)).failing_streak == 3


def test_one_success_is_enough():
    found = after(probe(1), probe(1), probe(1), probe(0))
    assert (found.status, found.failing_streak) == ("healthy", 0)


def test_failures_of_the_start_period_do_not_count_until_the_first_success():
    assert after(*(probe(1, at_s=second) for second in range(20))).failing_streak == 0
    assert after(probe(0, at_s=1), probe(1, at_s=2)).failing_streak == 1
    assert after(probe(1, at_s=20)).failing_streak == 1


def test_the_last_five_results_are_kept():
    assert [result.exit_code for result in after(*map(probe, range(9))).results] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(("status", "age_s", "pause_s"), [("starting", 0, 5), ("starting", 20, 30), ("healthy", 0, 30)])
def test_probes_come_quickly_only_while_it_starts(status, age_s, pause_s):
    assert next_probe_ns(PLAN, status, age_s * SECOND_NS) == pause_s * SECOND_NS
