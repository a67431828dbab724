"""Which command may meet which open intent."""

import pytest

from events.errors import Conflict, NotModified
from events.messages import container as m
from events.projections.containers import Container
from events.sealed import Sealed
from handlers.containers import decide
from handlers.containers.decide import MEETINGS, Meeting
from handlers.containers.errors import BeingRemoved, CannotKill, RemovalInProgress, StillRunning

OPERATIONS = {"create", "start", "stop", "exit", "pause", "unpause", "update", "remove"}


def container(status: str = "created", operation: str = "", mounts=()) -> Container:
    return Container(
        id="c" * 64,
        name="web",
        image_id="sha256:i",
        image_reference="busybox",
        config=m.ContainerConfig(),
        host=m.HostConfig(),
        secrets=Sealed(owner="container/c", nonce=b"", ciphertext=b""),
        endpoints={},
        platform="linux",
        created_at_ns=1,
        status=status,
        operation=operation,
        version=7,
        mounts=mounts,
    )


@pytest.mark.parametrize("verb", sorted(MEETINGS))
def test_every_verb_knows_every_open_intent(verb):
    assert set(MEETINGS[verb]) == OPERATIONS


@pytest.mark.parametrize("verb", sorted(MEETINGS))
def test_nothing_open_lets_every_verb_go(verb):
    assert decide.meet(verb, container()) is Meeting.GO


def test_kill_overtakes_a_stop_that_waits():
    assert decide.meet("kill", container("running", "stop")) is Meeting.GO


def test_a_second_removal_is_refused():
    with pytest.raises(RemovalInProgress, match="removal of container web is already in progress"):
        decide.meet("remove", container("exited", "remove"))


@pytest.mark.parametrize("verb", ["start", "stop", "pause", "rename"])
def test_nothing_begins_on_a_container_that_is_being_removed(verb):
    with pytest.raises(BeingRemoved):
        decide.meet(verb, container("exited", "remove"))


def test_every_decision_names_the_version_that_it_was_made_on():
    running = container("running")
    appends = [
        decide.start(container()),
        decide.stop(running, 10, 15, asked=True),
        decide.kill(running, "web", 9, asked=True),
        decide.pause(running),
        decide.unpause(container("paused")),
        decide.remove(container("exited"), "web", force=False, volumes=False),
        decide.observe(running, 0, 1, oom_killed=False),
    ]
    assert {append.expected for append in appends} == {7}


@pytest.mark.parametrize(
    ("decision", "error", "text"),
    [
        (lambda: decide.start(container("running")), NotModified, "already running"),
        (lambda: decide.start(container("paused")), Conflict, "cannot start a paused container, try unpause instead"),
        (lambda: decide.stop(container("exited"), 1, 15, asked=True), NotModified, "already stopped"),
        (
            lambda: decide.kill(container("exited"), "web", 9, asked=True),
            CannotKill,
            f"^cannot kill container: web: container {'c' * 64} is not running$",
        ),
        (lambda: decide.pause(container("paused")), Conflict, "is already paused"),
        (lambda: decide.pause(container("exited")), Conflict, "is not running"),
        (
            lambda: decide.remove(container("running"), "web", force=False, volumes=False),
            StillRunning,
            'cannot remove container "web": container is running: stop the container before removing or force remove',
        ),
    ],
)
def test_refusals_have_dockers_words(decision, error, text):
    with pytest.raises(error, match=text):
        decision()


def test_a_forced_removal_takes_a_running_container():
    append = decide.remove(container("running"), "web", force=True, volumes=True)
    assert append.events == (m.ContainerRemoveRequested(container_id="c" * 64, volumes=True),)
