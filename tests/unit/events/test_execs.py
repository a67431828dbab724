import pytest

from events.base import Event
from events.envelope import ENGINE, Cause, Recorded
from events.messages import exec as m
from events.projections.execs import CREATED_KEPT, ENDED_KEPT, Execs
from events.sealed import Sealed

WEB, OTHER = "w" * 64, "o" * 64


class Story:
    """Execs and the events that they are told of."""

    def __init__(self) -> None:
        self.execs = Execs()
        self._versions: dict[str, int] = {}

    def tell(self, stream: str, event: Event) -> None:
        self._versions[stream] = version = self._versions.get(stream, 0) + 1
        cause = Cause(actor=ENGINE, command_id="x", correlation_id="x")
        self.execs.apply(
            Recorded(sequence=1, time_ns=1, clock_ns=1, stream=stream, version=version, event=event, cause=cause)
        )

    def create(self, exec_id: str, container_id: str = WEB) -> None:
        secrets = Sealed(owner="", nonce=b"", ciphertext=b"")
        created = m.ExecCreated(
            exec_id=exec_id, container_id=container_id, run=1, config=m.ExecConfig(), secrets=secrets
        )
        self.tell(f"exec/{exec_id}", created)

    def run(self, exec_id: str) -> None:
        self.create(exec_id)
        self.tell(f"exec/{exec_id}", m.ExecStartRequested(exec_id=exec_id))
        self.tell(f"exec/{exec_id}", m.ExecStarted(exec_id=exec_id, pid=7))

    def ended(self, exec_id: str) -> None:
        self.run(exec_id)
        self.tell(f"exec/{exec_id}", m.ExecExited(exec_id=exec_id, exit_code=0))

    def known(self, container_id: str = WEB) -> list[str]:
        return [found.id for found in self.execs.of(container_id)]


def test_of_those_that_ended_the_last_are_known():
    story = Story()
    story.run("live")
    for number in range(ENDED_KEPT + 20):
        story.ended(f"e{number}")
    assert story.known() == ["live", *(f"e{number}" for number in range(20, ENDED_KEPT + 20))]
    assert story.execs.get("e19") is None
    assert len(story.execs) == ENDED_KEPT + 1
    story.tell("exec/e19", m.ExecExited(exec_id="e19", exit_code=1))  # as recovery might, who looked before
    assert story.execs.get("e19") is None


def test_a_health_check_that_never_gets_to_run_leaves_nothing_for_ever():
    story = Story()
    story.create("elsewhere", OTHER)
    for number in range(ENDED_KEPT + 5):
        story.create(f"f{number}")
        story.tell(f"exec/f{number}", m.ExecStartRequested(exec_id=f"f{number}"))
        story.tell(f"exec/f{number}", m.ExecStartFailed(exec_id=f"f{number}", exit_code=126, error=""))
    assert len(story.known()) == ENDED_KEPT
    assert story.known(OTHER) == ["elsewhere"]


def test_of_those_that_are_never_started_the_last_are_known():
    story = Story()
    for number in range(CREATED_KEPT + 3):
        story.create(f"c{number}")
    assert (len(story.execs), story.known()[0]) == (CREATED_KEPT, "c3")
    for number in range(3, CREATED_KEPT + 3):
        story.tell(f"exec/c{number}", m.ExecStartRequested(exec_id=f"c{number}"))
    story.create("last")
    assert len(story.execs) == CREATED_KEPT + 1


@pytest.mark.parametrize("again", [False, True])
def test_a_new_start_forgets_what_can_no_longer_run(again):
    story = Story()
    story.run("live")
    story.ended("ended")
    story.create("created")
    story.create("elsewhere", OTHER)
    story.execs.forget_ended(WEB)
    if again:
        story.execs.forget_ended(WEB)
    assert [found.id for found in story.execs] == ["live", "elsewhere"]
    story.tell("exec/live", m.ExecExited(exec_id="live", exit_code=137))
    assert story.known() == ["live"]
    story.execs.forget_ended(WEB)
    assert story.known() == []
    assert story.known(OTHER) == ["elsewhere"]


def test_a_removed_container_leaves_nothing():
    story = Story()
    story.run("live")
    story.ended("ended")
    story.create("created")
    story.execs.forget(WEB)
    assert (len(story.execs), story.known()) == (0, [])
    story.tell("exec/live", m.ExecExited(exec_id="live", exit_code=137))
    assert len(story.execs) == 0
