"""What a container's state says of it."""

from typing import Any

import msgspec
import pytest

from events.base import Event
from events.messages import container as m
from events.projections.containers import Container, fold
from events.sealed import Sealed

ENDED = Container(
    id="c",
    name="web",
    image_id="sha256:1",
    image_reference="busybox",
    config=m.ContainerConfig(),
    host=m.HostConfig(),
    secrets=Sealed(owner="container/c", nonce=b"", ciphertext=b""),
    endpoints={},
    mounts=(),
    platform="linux",
    created_at_ns=1,
    status="exited",
    run=1,
    observed_run=1,
)


@pytest.mark.parametrize("changes", [{}, {"status": "created", "run": 0}, {"status": "dead"}])
def test_what_has_ended_or_never_ran_is_at_rest(changes: dict[str, Any]) -> None:
    assert msgspec.structs.replace(ENDED, **changes).is_at_rest


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "creating", "operation": "create"},
        {"operation": "remove"},
        {"status": "running"},
        {"status": "paused"},
        {"restarting": "command-1"},
        {"kills": ("command-1",)},
        {"extractions": (("command-1", "/"),)},
        {"commits": ("command-1",)},
        {"host": m.HostConfig(auto_remove=True)},
        {"host": m.HostConfig(auto_remove=True), "status": "dead", "run": 0},
    ],
    ids=str,
)
def test_what_is_under_way_is_not(changes: dict[str, Any]) -> None:
    assert not msgspec.structs.replace(ENDED, **changes).is_at_rest


@pytest.mark.parametrize("status", ["exited", "restarting", "dead"])
@pytest.mark.parametrize(
    "late",
    [
        m.ContainerFreezeFailed(container_id="c", paused=True, error="it has no process"),
        m.ContainerFreezeFailed(container_id="c", paused=False, error="it has no process"),
        m.ContainerUnpaused(container_id="c"),
        m.ContainerPaused(container_id="c"),
    ],
    ids=lambda late: type(late).__name__,
)
def test_a_freeze_or_thaw_that_is_told_after_the_end_brings_nothing_back(status: str, late: Event) -> None:
    """A stop and a commit may both thaw it, and the later one finds it gone; a commit may freeze what is ending."""
    ended = msgspec.structs.replace(ENDED, status=status)
    assert fold(ended, late, "command-2") == ended


@pytest.mark.parametrize(("paused", "status"), [(True, "paused"), (False, "running")])
def test_a_freeze_that_failed_leaves_it_as_it_was(paused: bool, status: str) -> None:
    live = msgspec.structs.replace(ENDED, status="running", operation="unpause" if paused else "pause")
    after = fold(live, m.ContainerFreezeFailed(container_id="c", paused=paused, error="busy"), "command-2")
    assert after == msgspec.structs.replace(live, status=status, operation="")


def test_the_settling_of_an_end_is_not_forgotten_for_a_freeze_that_was_under_way() -> None:
    """Else nobody would finish it when the daemon is killed before the container has died."""
    ending = msgspec.structs.replace(ENDED, status="running", operation="exit", operation_command="command-1")
    after = fold(ending, m.ContainerPaused(container_id="c"), "command-2")
    assert after is not None
    assert (after.operation, after.operation_command) == ("exit", "command-1")
