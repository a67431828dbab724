"""Which command follows from which event."""

from events.envelope import ENGINE, Cause, Recorded
from events.messages import container as m
from events.messages.exec import ProcessExited
from events.messages.system import EngineStarted
from events.projections.state import State
from events.sealed import Sealed
from handlers.policies.reactions import Reaction, react

WEB = "w" * 64
SECRETS = Sealed(owner="container/w", nonce=b"", ciphertext=b"")
NO_POLICY = m.RestartPolicy(name="no")
CAUSE = Cause(actor=ENGINE, command_id="c", correlation_id="c")


def recorded(event, sequence=1, stream=f"container/{WEB}") -> Recorded:
    return Recorded(sequence=sequence, time_ns=1, clock_ns=1, stream=stream, version=sequence, event=event, cause=CAUSE)


def commands(event, state):
    return [reaction.command for reaction in react(event, state)]


def state_with(*, auto_remove: bool = False, policy: m.RestartPolicy = NO_POLICY) -> State:
    state = State()
    requested = m.ContainerCreateRequested(
        container_id=WEB,
        name="web",
        image_id="i",
        image_reference="i",
        config=m.ContainerConfig(),
        host=m.HostConfig(auto_remove=auto_remove, restart_policy=policy),
        secrets=SECRETS,
    )
    started = m.ContainerStartRequested(container_id=WEB, run=1)
    state.apply((recorded(requested), recorded(m.ContainerCreated(container_id=WEB), 2), recorded(started, 3)))
    return state


def test_a_restart_keeps_what_removes_itself():
    state = state_with(auto_remove=True)
    state.apply((recorded(m.ContainerRestartRequested(container_id=WEB), 4),))
    died = recorded(m.ContainerDied(container_id=WEB, exit_code=0, run_s=0), 5)
    assert commands(died, state) == []
    failed = recorded(m.ContainerRestartFailed(container_id=WEB, error="no"), 6)
    state.apply((failed,))
    assert commands(failed, state) == [m.RemoveContainer(container=WEB, volumes=True)]


def test_the_end_of_a_process_is_settled():
    exited = ProcessExited(container_id=WEB, run=1, exit_code=0, oom_killed=False, finished_at_ns=1)
    assert commands(recorded(exited, stream=f"process/{WEB}"), State()) == [m.SettleExit(container=WEB)]


def test_what_could_not_start_is_removed_if_it_was_to_be():
    failed = recorded(m.ContainerStartFailed(container_id=WEB, exit_code=127, error="no"), 2)
    assert commands(failed, state_with(auto_remove=True)) == [m.RemoveContainer(container=WEB, volumes=True)]
    assert commands(failed, state_with(auto_remove=False)) == []
    assert commands(failed, State()) == []


def test_nothing_else_leads_to_anything():
    renamed = recorded(m.ContainerRenamed(container_id=WEB, old_name="web", name="web2"), 2)
    assert commands(renamed, state_with(auto_remove=True)) == []


ALWAYS = m.RestartPolicy(name="always")
SCHEDULED = m.ContainerRestartScheduled(container_id=WEB, run=1, attempt=1, delay_ms=100, due_ns=700)
STARTED = EngineStarted(version="1", boot_id="b", pid=1)


def after_its_end(state: State, *more) -> State:
    started = m.ContainerStarted(container_id=WEB, pid=7, started_at_ns=1)
    observed = m.ContainerExitObserved(container_id=WEB, exit_code=1, oom_killed=False, finished_at_ns=5)
    ended = m.ContainerDied(container_id=WEB, exit_code=1, run_s=0)
    state.apply(tuple(recorded(event, 4 + n) for n, event in enumerate((started, observed, ended, *more))))
    return state


def test_a_restart_waits_for_its_time():
    assert list(react(recorded(SCHEDULED, 9), State())) == [Reaction(m.StartAgain(container=WEB, run=1), 700)]


def test_a_new_daemon_takes_up_the_restarts_that_were_planned():
    state = after_its_end(state_with(policy=ALWAYS), SCHEDULED)
    assert list(react(recorded(STARTED, 9), state)) == [Reaction(m.StartAgain(container=WEB, run=1), 700)]


def test_a_new_daemon_starts_what_its_policy_wants():
    assert commands(recorded(STARTED, 9), after_its_end(state_with(policy=ALWAYS))) == [m.StartContainer(container=WEB)]
    assert commands(recorded(STARTED, 9), after_its_end(state_with())) == []
    assert commands(recorded(STARTED, 9), state_with(policy=ALWAYS)) == []  # it never ran
