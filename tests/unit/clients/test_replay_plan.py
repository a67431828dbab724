"""What a container is asked for again with, where others' ids are no longer theirs."""

from typing import Any

import msgspec

from clients.replay.plan import plan
from events.base import Event
from events.envelope import Cause, Recorded
from events.messages import container as m
from events.projections.state import State
from tests.unit.events.examples import ACTOR, example


def told(state: State, name: str, version: int, event: Event) -> None:
    recorded = Recorded(
        sequence=state.sequence + 1,
        time_ns=1,
        clock_ns=1,
        stream=f"container/{name}-id",
        version=version,
        event=event,
        cause=Cause(actor=ACTOR, command_id="c", correlation_id="c"),
    )
    state.apply([recorded])


def made(state: State, name: str, config: m.ContainerConfig, host: m.HostConfig) -> None:
    requested = example(m.ContainerCreateRequested)
    assert isinstance(requested, m.ContainerCreateRequested)
    event = msgspec.structs.replace(
        requested, container_id=f"{name}-id", name=name, config=config, host=host, endpoints={}, mounts=()
    )
    told(state, name, 1, event)
    told(state, name, 2, m.ContainerCreated(container_id=f"{name}-id"))


def bodies(state: State) -> dict[str, dict[str, Any]]:
    return {wanted.name: wanted.body for wanted in plan(state, {}).containers}


def test_others_are_called_by_their_names():
    state = State()
    made(state, "db", m.ContainerConfig(hostname="dbhost"), m.HostConfig(network_mode="bridge"))
    sharing = m.HostConfig(
        network_mode="container:db-id", pid_mode="container:db-id", cgroupns_mode="container:db-id", ipc_mode="host"
    )
    made(state, "side", m.ContainerConfig(hostname="dbhost", exposed_ports={"80/tcp": {}}), sharing)
    linked = m.HostConfig(network_mode="bridge", links=("db-id:store", "gone-id:x"))
    made(state, "web", m.ContainerConfig(hostname="web"), linked)
    made(state, "sees", m.ContainerConfig(hostname="lost-host"), m.HostConfig(uts_mode="host"))
    found = bodies(state)
    host = found["side"]["HostConfig"]
    assert [host[key] for key in ("NetworkMode", "PidMode", "CgroupnsMode", "IpcMode")] == [
        "container:db",
        "container:db",
        "container:db",
        "host",
    ]
    assert (found["side"]["Hostname"], found["side"]["ExposedPorts"]) == ("", {})
    assert found["web"]["HostConfig"]["Links"] == ("db:store",)
    assert (found["web"]["Hostname"], found["sees"]["Hostname"]) == ("web", "")
