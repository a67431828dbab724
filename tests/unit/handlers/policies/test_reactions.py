"""Which command follows from which event."""

from events.envelope import ENGINE, Cause, Recorded
from events.messages import container as m
from events.messages.exec import ProcessExited
from events.projections.state import State
from events.sealed import Sealed
from handlers.policies.reactions import react

WEB = "w" * 64
SECRETS = Sealed(owner="container/w", nonce=b"", ciphertext=b"")
CAUSE = Cause(actor=ENGINE, command_id="c", correlation_id="c")


def recorded(event, sequence=1, stream=f"container/{WEB}") -> Recorded:
    return Recorded(sequence=sequence, time_ns=1, clock_ns=1, stream=stream, version=sequence, event=event, cause=CAUSE)


def state_with(*, auto_remove: bool) -> State:
    state = State()
    requested = m.ContainerCreateRequested(
        container_id=WEB,
        name="web",
        image_id="i",
        image_reference="i",
        config=m.ContainerConfig(),
        host=m.HostConfig(auto_remove=auto_remove),
        secrets=SECRETS,
    )
    started = m.ContainerStartRequested(container_id=WEB, run=1)
    state.apply((recorded(requested), recorded(m.ContainerCreated(container_id=WEB), 2), recorded(started, 3)))
    return state


def test_a_restart_keeps_what_removes_itself():
    state = state_with(auto_remove=True)
    state.apply((recorded(m.ContainerRestartRequested(container_id=WEB), 4),))
    died = recorded(m.ContainerDied(container_id=WEB, exit_code=0, run_s=0), 5)
    assert list(react(died, state)) == []
    failed = recorded(m.ContainerRestartFailed(container_id=WEB, error="no"), 6)
    state.apply((failed,))
    assert list(react(failed, state)) == [m.RemoveContainer(container=WEB, volumes=True)]


def test_the_end_of_a_process_is_settled():
    exited = ProcessExited(container_id=WEB, run=1, exit_code=0, oom_killed=False, finished_at_ns=1)
    assert list(react(recorded(exited, stream=f"process/{WEB}"), State())) == [m.SettleExit(container=WEB)]


def test_what_died_is_removed_if_it_was_to_be():
    died = recorded(m.ContainerDied(container_id=WEB, exit_code=0, run_s=0), 2)
    removal = m.RemoveContainer(container=WEB, volumes=True)
    assert list(react(died, state_with(auto_remove=True))) == [removal]
    assert list(react(died, state_with(auto_remove=False))) == []
    assert list(react(died, State())) == []


def test_so_is_what_could_not_start():
    failed = recorded(m.ContainerStartFailed(container_id=WEB, exit_code=127, error="no"), 2)
    assert list(react(failed, state_with(auto_remove=True))) == [m.RemoveContainer(container=WEB, volumes=True)]


def test_nothing_else_leads_to_anything():
    renamed = recorded(m.ContainerRenamed(container_id=WEB, old_name="web", name="web2"), 2)
    assert list(react(renamed, state_with(auto_remove=True))) == []
