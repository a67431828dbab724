"""What a container's state says of it."""

from typing import Any

import msgspec
import pytest

from events.messages import container as m
from events.projections.containers import Container
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
