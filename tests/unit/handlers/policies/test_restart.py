"""When a container that has ended is started again."""

import msgspec
import pytest

from events.messages import container as m
from events.projections.containers import Container, fold
from events.sealed import Sealed
from handlers.policies.restart import NextRun, next_run, starts_with_the_engine

SECOND_NS = 10**9


def ended(name: str, *, exit_code: int = 1, most: int = 0, ran_s: float = 0.0, **more) -> Container:
    return Container(
        id="c" * 64,
        name="web",
        image_id="sha256:i",
        image_reference="busybox",
        config=m.ContainerConfig(),
        host=m.HostConfig(restart_policy=m.RestartPolicy(name=name, maximum_retry_count=most)),
        secrets=Sealed(owner="container/c", nonce=b"", ciphertext=b""),
        endpoints={},
        mounts=(),
        platform="linux",
        created_at_ns=1,
        run=1,
        started_at_ns=SECOND_NS,
        finished_at_ns=SECOND_NS + int(ran_s * SECOND_NS),
        exit_code=exit_code,
        **({"status": "exited"} | more),
    )


@pytest.mark.parametrize(
    ("name", "exit_code", "restarts"),
    [
        ("no", 1, False),
        ("", 1, False),
        ("always", 0, True),
        ("unless-stopped", 0, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
    ],
)
def test_by_policy_and_exit_code(name, exit_code, restarts):
    assert (next_run(ended(name, exit_code=exit_code)) is not None) is restarts


@pytest.mark.parametrize("name", ["always", "unless-stopped", "on-failure"])
def test_never_against_somebodys_will(name):
    assert next_run(ended(name, ends_for_good=True)) is None
    assert next_run(ended(name, operation="remove")) is None
    assert next_run(ended(name, restarting="command")) is None


def test_on_failure_gives_up_after_its_number_of_retries():
    assert next_run(ended("on-failure", most=3, restart_count=2)) is not None
    assert next_run(ended("on-failure", most=3, restart_count=3)) is None


def test_the_delay_doubles_up_to_a_minute():
    c, delays = ended("always"), []
    for _ in range(12):
        follows = next_run(c)
        assert follows is not None
        delays.append(follows.delay_ms)
        c = msgspec.structs.replace(c, restart_count=follows.attempt, restart_delay_ms=follows.delay_ms)
    assert delays == [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]


def test_ten_seconds_of_running_begin_the_delays_anew():
    assert next_run(ended("always", restart_delay_ms=6400, restart_count=7, ran_s=9.99)) == NextRun(
        attempt=8, delay_ms=12800
    )
    assert next_run(ended("always", restart_delay_ms=6400, restart_count=7, ran_s=10)) == NextRun(
        attempt=8, delay_ms=100
    )


@pytest.mark.parametrize(
    ("name", "stopped_by_hand", "starts"),
    [
        ("no", False, False),
        ("always", False, True),
        ("always", True, True),
        ("unless-stopped", False, True),
        ("unless-stopped", True, False),
        ("on-failure", False, True),
        ("on-failure", True, False),
    ],
)
def test_with_the_engine(name, stopped_by_hand, starts):
    assert starts_with_the_engine(ended(name, manually_stopped=stopped_by_hand)) is starts


def test_the_engine_starts_nothing_that_runs_never_ran_or_is_on_its_way():
    assert not starts_with_the_engine(ended("always", status="running"))
    assert not starts_with_the_engine(ended("always", operation="remove"))
    assert not starts_with_the_engine(msgspec.structs.replace(ended("always"), started_at_ns=0))


def test_somebodys_start_counts_anew_and_the_policys_goes_on():
    c = ended("always", restart_count=4, restart_delay_ms=800, manually_stopped=True, ends_for_good=True)
    again = fold(c, m.ContainerStartRequested(container_id=c.id, run=2), "x")
    assert again is not None
    assert (again.restart_count, again.restart_delay_ms, again.manually_stopped, again.ends_for_good) == (
        0,
        0,
        False,
        False,
    )
    by_policy = fold(c, m.ContainerStartRequested(container_id=c.id, run=2, attempt=4), "x")
    assert by_policy is not None
    assert (by_policy.restart_count, by_policy.restart_delay_ms) == (4, 800)


def test_who_waits_for_a_restart_is_up_and_can_be_stopped():
    scheduled = m.ContainerRestartScheduled(container_id="c" * 64, run=1, attempt=1, delay_ms=100, due_ns=5)
    c = fold(ended("always"), scheduled, "x")
    assert c is not None
    assert (c.status, c.is_up, c.is_live, c.restart_count) == ("restarting", True, False, 1)
    cancelled = fold(c, m.ContainerRestartCancelled(container_id=c.id), "x")
    assert cancelled is not None
    assert (cancelled.status, cancelled.is_up, cancelled.manually_stopped) == ("exited", False, True)


def test_the_engines_own_stop_is_nobodys_will():
    requested = m.ContainerStopRequested(container_id="c" * 64, timeout_s=1, signal=15, asked=False)
    c = fold(ended("unless-stopped", status="running"), requested, "x")
    assert c is not None
    assert (c.ends_for_good, c.manually_stopped) == (True, False)
