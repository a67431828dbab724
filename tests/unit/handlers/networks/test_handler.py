"""The network handler on fakes: what it decides, what it writes to the log, and that failures leave nothing."""

from functools import partial

import anyio
import pytest

from events.errors import Conflict, EngineError, Forbidden, InvalidParameter, NotFound, SystemFailure, Unavailable
from events.log import ClaimTaken
from events.messages.container import (
    ContainerConfig,
    ContainerCreateRequested,
    ContainerExitObserved,
    ContainerStartRequested,
    HostConfig,
)
from events.messages.network import (
    ADDRESS_WISH,
    EndpointRequest,
    PortRequest,
    PublishedPort,
    SandboxConnected,
    SandboxDisconnected,
    SandboxRequested,
)
from events.messages.system import OrphanRemoved
from events.messages.volume import VolumeRemoved
from events.sealed import Sealed
from tests.fakes.network_engine import Engine, FakeParts

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
PORT = PortRequest(container_port=80, protocol="tcp", host_port=8080)
FREE = PortRequest(container_port=80, protocol="tcp")
PREDEFINED = ["network.create_requested"] * 3 + ["network.created"] * 3


def on_host(fakes: FakeParts) -> tuple[object, ...]:
    """Everything that is on the (fake) host."""
    return dict(fakes.driver.links), set(fakes.namespaces.made), dict(fakes.publisher.entries)


NOTHING: tuple[object, ...] = ({}, set(), {})


async def booted(fakes: FakeParts | None = None) -> tuple[Engine, FakeParts]:
    fakes = fakes or FakeParts()
    engine = Engine(fakes.parts())
    await engine.boot()
    return engine, fakes


async def test_boot_makes_the_predefined_networks_once():
    engine, fakes = await booted()
    assert await engine.types() == PREDEFINED
    assert {network.name: network.driver for network in engine.state.networks} == {
        "bridge": "bridge",
        "host": "host",
        "none": "null",
    }
    ids = {network.name: network.id for network in engine.state.networks}
    engine.restart(fakes.parts())
    await engine.boot()
    assert await engine.types() == PREDEFINED
    assert {network.name: network.id for network in engine.state.networks} == ids


@pytest.mark.parametrize(
    ("wish", "given"),
    [("172.17.0.9", "172.17.0.9"), ("172.17.0.2", "172.17.0.3"), ("10.0.0.1", "172.17.0.3"), ("x", "172.17.0.3")],
)
async def test_an_address_that_is_wished_for_is_given_while_it_is_free(wish, given):
    engine, _ = await booted()
    await engine.connect(ONE)
    request = EndpointRequest(network="bridge", driver_options={ADDRESS_WISH: wish})
    sandbox = await engine.connect(TWO, endpoints=(request,))
    assert [endpoint.address for endpoint in sandbox.endpoints] == [given]


async def test_the_default_subnet_overlaps_nothing_on_the_host():
    fakes = FakeParts()
    fakes.driver._occupied = ("172.17.0.0/16",)
    engine, _ = await booted(fakes)
    assert engine.state.networks.find("bridge")[0].subnets[0].subnet == "172.18.0.0/16"


async def test_another_bip_moves_the_bridge_while_nobody_is_on_it():
    engine, fakes = await booted()
    engine.restart(fakes.parts(bip="192.168.5.1/24", mtu=1400))
    await engine.boot()
    (network,) = engine.state.networks.find("bridge")
    assert (network.subnets[0].subnet, network.subnets[0].gateway) == ("192.168.5.0/24", "192.168.5.1")
    assert network.options["com.docker.network.driver.mtu"] == "1400"
    assert fakes.driver.networks[network.id].subnet == "192.168.5.0/24"
    assert (await engine.types())[-1] == "network.reconfigured"


async def test_another_bip_waits_while_somebody_is_on_it():
    engine, fakes = await booted()
    await engine.connect(ONE)
    engine.restart(fakes.parts(bip="192.168.5.1/24"))
    await engine.boot()
    assert engine.state.networks.find("bridge")[0].subnets[0].subnet == "172.17.0.0/16"


async def test_a_bridge_that_fails_at_first_is_tried_again():
    fakes = FakeParts()
    fakes.driver.fail["ensure_network"] = 2
    engine, _ = await booted(fakes)
    assert await engine.types() == PREDEFINED


async def test_without_a_bridge_the_other_modes_work_and_the_bridge_is_tried_at_each_connect(monkeypatch):
    monkeypatch.setattr("handlers.networks.predefined._FIRST_PAUSE_S", 0)
    fakes = FakeParts()
    fakes.driver.fail["ensure_network"] = 6
    engine, _ = await booted(fakes)
    await engine.connect(ONE, mode="none")
    with pytest.raises(Unavailable, match="network bridge could not be made on this host"):
        await engine.connect(TWO)
    assert fakes.namespaces.made == {ONE}
    assert (await engine.connect(TWO)).endpoints[0].address == "172.17.0.3"


async def test_a_container_gets_an_address_ports_and_name_files():
    engine, fakes = await booted()
    sandbox = await engine.connect(ONE, ports=(PORT,))
    (endpoint,) = sandbox.endpoints
    assert (endpoint.address, endpoint.prefix_length, endpoint.gateway) == ("172.17.0.2", 16, "172.17.0.1")
    assert (endpoint.interface, endpoint.mac_address) == ("eth0", "02:42:ac:11:00:02")
    assert sandbox.namespace_path == fakes.namespaces.path(ONE)
    assert {port.host_address for port in sandbox.ports} == {"0.0.0.0", "::"}
    assert fakes.publisher.entries[ONE] == ("172.17.0.2", sandbox.ports)
    assert "172.17.0.2\t111111111111\n" in fakes.name_files.written[ONE].hosts
    assert await engine.types(after=6) == ["network.sandbox_requested", "network.sandbox_connected"]
    assert await engine.log.claim_holder(f"address/{endpoint.network_id}/172.17.0.2") == f"sandbox/{ONE}"
    assert await engine.log.claim_holder("port/0.0.0.0:8080/tcp") == f"sandbox/{ONE}"


async def test_a_disconnected_container_leaves_nothing():
    engine, fakes = await booted()
    sandbox = await engine.connect(ONE, ports=(PORT,))
    await engine.disconnect(ONE)
    assert on_host(fakes) == NOTHING
    assert engine.state.sandboxes.get(ONE) is None
    assert await engine.log.claim_holder(f"address/{sandbox.endpoints[0].network_id}/172.17.0.2") is None
    assert await engine.log.claim_holder("port/[::]:8080/tcp") is None
    await engine.disconnect(ONE)
    assert (await engine.types())[-1] == "network.sandbox_disconnected"
    assert ONE in fakes.name_files.written
    await engine.remove_files(ONE)
    assert ONE not in fakes.name_files.written


async def test_commands_are_concluded_by_their_last_event():
    engine, _ = await booted()
    await engine.connect(ONE)
    await engine.disconnect(ONE)
    events = await engine.events()
    assert [event.event.TYPE for event in events if event.reply] == [
        "network.sandbox_connected",
        "network.sandbox_disconnected",
    ]


async def test_an_address_is_not_given_again_at_once():
    engine, _ = await booted()
    first = (await engine.connect(ONE)).endpoints[0].address
    await engine.disconnect(ONE)
    assert (await engine.connect(ONE)).endpoints[0].address != first


async def test_many_at_once_get_different_addresses_and_ports():
    engine, _ = await booted()
    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(partial(engine.connect, f"{number:064d}", ports=(FREE,)))
    endpoints = [sandbox.endpoints[0].address for sandbox in engine.state.sandboxes]
    ports = [port.host_port for sandbox in engine.state.sandboxes for port in sandbox.ports]
    assert len(set(endpoints)) == 30
    assert len(set(ports)) == 30


async def test_a_full_network_says_so():
    engine, fakes = await booted(FakeParts(bip="10.9.0.1/30"))
    await engine.connect(ONE)
    with pytest.raises(Forbidden, match="no available IPv4 addresses on this network's address pools: bridge"):
        await engine.connect(TWO)
    await engine.disconnect(ONE)
    assert (await engine.connect(TWO)).endpoints[0].address == "10.9.0.2"
    assert set(fakes.namespaces.made) == {TWO}


async def test_the_host_mode_has_neither_namespace_nor_address_nor_ports():
    engine, fakes = await booted()
    sandbox = await engine.connect(ONE, mode="host", ports=(PORT,))
    assert sandbox.namespace_path == ""
    assert [(e.network_name, e.address) for e in sandbox.endpoints] == [("host", "")]
    assert sandbox.ports == ()
    assert on_host(fakes) == NOTHING
    assert fakes.name_files.written[ONE].resolv_conf == "nameserver 192.0.2.53\n"


async def test_the_none_mode_has_a_namespace_alone():
    engine, fakes = await booted()
    sandbox = await engine.connect(ONE, mode="none")
    assert sandbox.namespace_path == fakes.namespaces.path(ONE)
    assert on_host(fakes) == ({}, {ONE}, {})


async def test_a_namespace_can_be_shared_also_at_second_hand():
    engine, fakes = await booted()
    first = await engine.connect(ONE)
    await engine.connect(TWO, mode=f"container:{ONE}")
    third = await engine.connect(THREE, mode=f"container:{TWO}")
    assert (third.namespace_path, third.hosts_path) == (first.namespace_path, first.hosts_path)
    assert third.endpoints == ()
    await engine.disconnect(THREE)
    assert fakes.namespaces.made == {ONE}


async def test_who_shares_with_the_host_mode_is_on_the_host():
    engine, _ = await booted()
    await engine.connect(ONE, mode="host")
    assert (await engine.connect(TWO, mode=f"container:{ONE}")).namespace_path == ""


async def test_nothing_can_be_shared_with_who_has_nothing():
    engine, _ = await booted()
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        await engine.connect(TWO, mode=f"container:{ONE}")
    with pytest.raises(Conflict):
        await engine.connect(TWO, mode=f"container:{TWO}")


async def test_connecting_twice_is_refused_and_changes_nothing():
    engine, fakes = await booted()
    await engine.connect(ONE)
    before = on_host(fakes)
    with pytest.raises(Conflict, match="already exists in network"):
        await engine.connect(ONE)
    assert on_host(fakes) == before


async def test_an_unknown_network_is_refused_before_anything_happens():
    engine, _ = await booted()
    with pytest.raises(NotFound, match=r"^network nosuch not found$"):
        await engine.connect(ONE, endpoints=(EndpointRequest(network="nosuch"),))
    assert await engine.types() == PREDEFINED


async def test_the_default_bridge_gives_no_address_on_request():
    engine, _ = await booted()
    with pytest.raises(InvalidParameter, match="user specified IP address is supported on user defined networks only"):
        await engine.connect(ONE, endpoints=(EndpointRequest(network="bridge", address="172.17.0.9"),))


async def test_a_hardware_address_can_be_asked_for():
    engine, _ = await booted()
    sandbox = await engine.connect(ONE, endpoints=(EndpointRequest(network="bridge", mac_address="02:00:00:00:00:01"),))
    assert sandbox.endpoints[0].mac_address == "02:00:00:00:00:01"


async def test_bad_extra_hosts_are_refused_before_anything_happens():
    engine, _ = await booted()
    with pytest.raises(InvalidParameter):
        await engine.connect(ONE, extra_hosts=("bad",))
    assert await engine.types() == PREDEFINED


async def test_a_port_of_another_container_is_refused_in_dockers_words():
    engine, _ = await booted()
    await engine.connect(ONE, ports=(PORT,))
    with pytest.raises(SystemFailure) as refused:
        await engine.connect(TWO, ports=(PORT,))
    text = str(refused.value)
    assert text.startswith(f"driver failed programming external connectivity on endpoint {TWO} (")
    assert text.endswith("): Bind for 0.0.0.0:8080 failed: port is already allocated")


async def test_a_port_that_another_stream_claims_is_refused_too():
    engine, _ = await booted()
    await engine.append("volume/x", VolumeRemoved(name="x"), take=("port/0.0.0.0:8080/tcp",))
    with pytest.raises(SystemFailure, match="port is already allocated"):
        await engine.connect(ONE, ports=(PORT,))
    sandbox = await engine.connect(
        ONE, ports=(PortRequest(container_port=80, protocol="tcp", host_port=8080, host_port_end=8081),)
    )
    assert sandbox.ports[0].host_port == 8081


async def test_an_address_that_another_stream_claims_is_passed_over():
    engine, _ = await booted()
    (network,) = engine.state.networks.find("bridge")
    await engine.append("volume/x", VolumeRemoved(name="x"), take=(f"address/{network.id}/172.17.0.2",))
    assert (await engine.connect(ONE)).endpoints[0].address == "172.17.0.3"


async def test_a_fixed_port_of_another_process_is_refused_and_nothing_is_left():
    engine, fakes = await booted()
    fakes.publisher.foreign.add(PublishedPort(container_port=1, protocol="tcp", host_address="0.0.0.0", host_port=8080))
    with pytest.raises(SystemFailure) as refused:
        await engine.connect(ONE, ports=(PORT,))
    assert str(refused.value).endswith(
        "failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use"
    )
    assert on_host(fakes) == NOTHING
    assert await engine.types(after=6) == ["network.sandbox_requested", "network.sandbox_connect_failed"]
    assert await engine.log.claim_holder("port/0.0.0.0:8080/tcp") is None


async def test_another_port_does_where_it_was_not_fixed():
    engine, fakes = await booted()
    for number in (32768, 32769):
        fakes.publisher.foreign.add(
            PublishedPort(container_port=1, protocol="tcp", host_address="0.0.0.0", host_port=number)
        )
    sandbox = await engine.connect(ONE, ports=(FREE,))
    assert {port.host_port for port in sandbox.ports} == {32770}
    assert fakes.publisher.entries[ONE][1] == sandbox.ports


@pytest.mark.parametrize("ports", [(), (PORT,)])
async def test_a_connect_that_fails_on_the_host_leaves_nothing(ports):
    engine, fakes = await booted()
    fakes.driver.fail["connect"] = 1
    with pytest.raises(SystemFailure, match="connect refused"):
        await engine.connect(ONE, ports=ports)
    assert on_host(fakes) == NOTHING
    assert engine.state.sandboxes.get(ONE) is None
    assert (await engine.connect(ONE, ports=ports)).endpoints


async def test_an_undo_that_fails_keeps_the_claims_until_a_disconnect_succeeds():
    engine, fakes = await booted()
    fakes.driver.fail |= {"connect": 1, "disconnect": 1}
    with pytest.raises(SystemFailure, match="connect refused"):
        await engine.connect(ONE, ports=(PORT,))
    sandbox = engine.state.sandboxes.get(ONE)
    assert sandbox is not None
    assert sandbox.status == "connecting"
    await engine.disconnect(ONE)
    assert on_host(fakes) == NOTHING
    assert await engine.log.claim_holder("port/0.0.0.0:8080/tcp") is None


async def test_a_cancelled_connect_is_undone():
    engine, fakes = await booted()
    with anyio.CancelScope() as scope:

        async def hang(*_) -> None:
            scope.cancel()
            await anyio.sleep_forever()

        fakes.driver.connect = hang  # type: ignore[method-assign, assignment]
        await engine.connect(ONE, ports=(PORT,))
    assert scope.cancelled_caught
    assert on_host(fakes) == NOTHING
    assert (await engine.types())[-1] == "network.sandbox_connect_failed"


async def test_an_undo_waits_for_its_step():
    """A cancelled saga cancels only its wait: the connect goes on, and its undo comes before it has ended."""
    engine, fakes = await booted()
    connect, begun, go_on = fakes.driver.connect, anyio.Event(), anyio.Event()

    async def slow(*arguments) -> None:
        begun.set()
        await go_on.wait()
        await connect(*arguments)

    fakes.driver.connect = slow  # type: ignore[method-assign, assignment]
    async with anyio.create_task_group() as group:
        group.start_soon(partial(engine.connect, ONE, ports=(PORT,)))
        await begun.wait()
        group.start_soon(engine.disconnect, ONE)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert on_host(fakes) == NOTHING
    assert engine.state.sandboxes.get(ONE) is None
    assert (await engine.types())[-2:] == ["network.sandbox_connected", "network.sandbox_disconnected"]


async def test_a_sandbox_that_was_ended_while_it_was_made_is_not_connected():
    engine, fakes = await booted()
    connect = fakes.driver.connect

    async def overtaken(*arguments) -> None:
        await connect(*arguments)
        await engine.append(f"sandbox/{ONE}", SandboxDisconnected(container_id=ONE))

    fakes.driver.connect = overtaken  # type: ignore[method-assign, assignment]
    with pytest.raises(Conflict, match="was taken down while it was made"):
        await engine.connect(ONE, ports=(PORT,))
    assert on_host(fakes) == NOTHING
    assert engine.state.sandboxes.get(ONE) is None
    assert await engine.log.claim_holder("port/0.0.0.0:8080/tcp") is None
    assert "network.sandbox_connected" not in await engine.types()


async def test_a_late_outcome_leaves_the_log_readable():
    engine, _ = await booted()
    for late in (SandboxConnected(container_id=ONE), SandboxDisconnected(container_id=ONE)):
        await engine.append(f"sandbox/{ONE}", late)
    assert engine.state.sandboxes.get(ONE) is None
    assert (await engine.connect(ONE)).endpoints


async def test_a_disconnect_that_fails_can_be_repeated():
    engine, fakes = await booted()
    await engine.connect(ONE, ports=(PORT,))
    fakes.publisher.fail_withdraw = 1
    with pytest.raises(EngineError):
        await engine.disconnect(ONE)
    with pytest.raises(ClaimTaken):
        await engine.append("volume/x", VolumeRemoved(name="x"), take=("port/0.0.0.0:8080/tcp",))
    await engine.disconnect(ONE)
    assert on_host(fakes) == NOTHING


async def test_boot_removes_what_the_log_does_not_know_and_says_so():
    engine, fakes = await booted()
    await engine.connect(ONE, ports=(PORT,))
    kept = on_host(fakes)
    await fakes.namespaces.create(TWO)
    fakes.driver.links["fake-orphan"] = TWO
    await fakes.publisher.publish(
        TWO, "172.17.0.9", (PublishedPort(container_port=1, protocol="tcp", host_address="::1", host_port=9),)
    )
    engine.restart(fakes.parts())
    before = engine.log.head
    await engine.boot()
    assert on_host(fakes) == kept
    assert await engine.types(after=before) == ["system.orphan_removed"] * 3
    events = [recorded.event for recorded in (await engine.events())[before:]]
    kinds = {event.kind for event in events if isinstance(event, OrphanRemoved)}
    assert kinds == {"namespace", "link", "published ports"}


@pytest.mark.parametrize(
    ("part", "method"), [("driver", "list_links"), ("namespaces", "list"), ("publisher", "published")]
)
async def test_boot_spares_what_is_made_while_it_looks(part, method):
    """Commands are served while recovery looks for what nobody knows."""
    engine, fakes = await booted()
    engine.restart(fakes.parts())
    look = getattr(getattr(fakes, part), method)

    async def connected_meanwhile():
        await engine.connect(ONE, ports=(PORT,))
        return await look()

    setattr(getattr(fakes, part), method, connected_meanwhile)
    await engine.boot()
    assert len(fakes.driver.links) == 1
    assert (fakes.namespaces.made, set(fakes.publisher.entries)) == ({ONE}, {ONE})
    assert "system.orphan_removed" not in await engine.types()


@pytest.mark.parametrize(("part", "method"), [("namespaces", "remove"), ("publisher", "withdraw")])
async def test_a_container_that_connects_waits_until_what_it_had_left_is_removed(part, method):
    """What an earlier sandbox left goes by the container's id, and so does what its next one makes."""
    engine, fakes = await booted()
    await fakes.namespaces.create(ONE)
    await fakes.publisher.publish(ONE, "172.17.0.9", ())
    engine.restart(fakes.parts())
    remove = getattr(getattr(fakes, part), method)
    async with anyio.create_task_group() as group:

        async def slow(container_id: str) -> None:
            setattr(getattr(fakes, part), method, remove)
            group.start_soon(partial(engine.connect, ONE, ports=(PORT,)))
            await anyio.wait_all_tasks_blocked()
            await remove(container_id)

        setattr(getattr(fakes, part), method, slow)
        await engine.boot()
    assert (fakes.namespaces.made, set(fakes.publisher.entries)) == ({ONE}, {ONE})


async def test_boot_restores_nothing_of_a_container_that_is_disconnected_just_now():
    engine, fakes = await booted()
    await engine.connect(ONE, ports=(PORT,))
    engine.restart(fakes.parts())
    disconnect, begun, go_on = fakes.driver.disconnect, anyio.Event(), anyio.Event()

    async def slow(*arguments) -> None:
        begun.set()
        await go_on.wait()
        await disconnect(*arguments)

    fakes.driver.disconnect = slow  # type: ignore[method-assign, assignment]
    async with anyio.create_task_group() as group:
        group.start_soon(engine.disconnect, ONE)
        await begun.wait()
        group.start_soon(engine.boot)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert on_host(fakes) == NOTHING


async def test_boot_restores_what_a_live_container_lost():
    engine, fakes = await booted()
    await engine.connect(ONE, ports=(PORT,))
    kept = on_host(fakes)
    fakes.driver.links.clear()
    fakes.publisher.entries.clear()
    engine.restart(fakes.parts())
    await engine.boot()
    assert on_host(fakes) == kept


async def test_boot_restores_nothing_of_a_container_whose_end_is_being_settled():
    """Its port may be cut off already: whoever waited for it to come up would keep the end from being settled."""
    engine, fakes = await booted()
    await engine.connect(ONE, ports=(PORT,))
    stream = f"container/{ONE}"
    requested = ContainerCreateRequested(
        container_id=ONE,
        name="one",
        image_id="sha256:0",
        image_reference="busybox",
        config=ContainerConfig(),
        host=HostConfig(),
        secrets=Sealed(owner=stream, nonce=b"", ciphertext=b""),
    )
    await engine.append(stream, requested, ContainerStartRequested(container_id=ONE, run=1))
    fakes.driver.links.clear()
    engine.restart(fakes.parts())
    await engine.boot()
    assert len(fakes.driver.links) == 1
    fakes.driver.links.clear()
    ended = ContainerExitObserved(container_id=ONE, exit_code=0, oom_killed=False, finished_at_ns=1)
    await engine.append(stream, ended)
    engine.restart(fakes.parts())
    await engine.boot()
    assert not fakes.driver.links


async def test_boot_leaves_a_container_without_namespace_to_its_own_recovery():
    engine, fakes = await booted()
    await engine.connect(ONE, ports=(PORT,))
    fakes.namespaces.made.clear()
    fakes.driver.links.clear()
    fakes.publisher.entries.clear()
    engine.restart(fakes.parts())
    await engine.boot()
    assert on_host(fakes) == NOTHING
    assert engine.state.sandboxes.get(ONE) is not None


async def test_boot_leaves_an_open_connect_to_the_containers_recovery():
    engine, fakes = await booted()
    await engine.append(f"sandbox/{ONE}", SandboxRequested(container_id=ONE, mode="none", endpoints=(), ports=()))
    await fakes.namespaces.create(ONE)
    before = engine.log.head
    engine.restart(fakes.parts())
    await engine.boot()
    assert engine.log.head == before
    await engine.disconnect(ONE)
    assert on_host(fakes) == NOTHING


async def test_one_object_that_cannot_be_settled_holds_nobody_up():
    engine, fakes = await booted()
    await engine.connect(ONE)
    await engine.connect(TWO)
    fakes.driver.links.clear()
    fakes.driver.fail["connect"] = 1
    engine.restart(fakes.parts())
    await engine.boot()
    assert len(fakes.driver.links) == 1


async def test_whatever_is_wrong_with_the_predefined_networks_sandboxes_are_restored(monkeypatch):
    engine, fakes = await booted()
    await engine.connect(ONE)
    fakes.driver.links.clear()
    engine.restart(fakes.parts())

    async def unexpected(*_: object) -> None:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr("handlers.networks.predefined.PredefinedNetworks.ensure", unexpected)
    await engine.boot()
    assert len(fakes.driver.links) == 1
