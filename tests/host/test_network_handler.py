"""The network handler with its real drivers: whole sandboxes, boots after crashes, several engines on one host."""

from collections.abc import Iterator

import anyio
import msgspec
import pytest

from events.errors import SystemFailure
from events.messages.network import PortRequest
from events.messages.system import OrphanRemoved
from handlers.instance import Instance
from handlers.kernel.namespaces import PinnedNamespaces
from handlers.networks.drivers.bridge import BridgeDriver
from handlers.networks.drivers.forwarder import Forwarder
from handlers.networks.drivers.name_files import HostNameFiles
from handlers.networks.drivers.nft import NftFirewall
from handlers.networks.drivers.ports import HostPorts
from handlers.networks.parts import Parts
from handlers.networks.settings import NetworkSettings
from tests.fakes.network_engine import Engine
from tests.fakes.network_host import HOST_ADDRESS, OUTSIDE_ADDRESS, Echo, Machine, ask, machine, run

pytestmark = pytest.mark.root

ONE, TWO = "1" * 64, "2" * 64
PORT = PortRequest(container_port=80, protocol="tcp", host_port=8080)
LIMIT_S = 5.0


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine() as made:
        yield made


def parts(instance: Instance, **settings: object) -> Parts:
    chosen = msgspec.structs.replace(NetworkSettings(), **settings)
    firewall = NftFirewall(instance.firewall_table) if chosen.iptables else None
    forwarder = Forwarder(instance.exec_root, forward=chosen.userland_proxy)
    return Parts(
        settings=chosen,
        instance=instance,
        driver=BridgeDriver(instance, firewall),
        publisher=HostPorts(firewall, forwarder, forwards=chosen.userland_proxy),
        namespaces=PinnedNamespaces(instance.exec_root / "netns"),
        name_files=HostNameFiles(instance.data_root),
    )


async def booted(host: Machine, **settings: object) -> Engine:
    engine = Engine(parts(host.instance, **settings))
    await engine.boot()
    return engine


async def no_links(engine: Engine) -> None:
    with anyio.fail_after(LIMIT_S):
        while await engine.parts.driver.list_links():
            await anyio.sleep(0.01)


async def test_a_sandbox_works_and_leaves_nothing(host):
    engine = await booted(host)
    before = run("nft", "list", "ruleset"), run("ss", "-Hlntu")
    sandbox = await engine.connect(ONE, ports=(PORT,), dns=("192.0.2.53",))
    with Echo(sandbox.namespace_path, 80), Echo(host.outside, 7):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"
        assert ask(sandbox.namespace_path, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"
    for path, text in (
        (sandbox.hosts_path, "172.17.0.2\t111111111111\n"),
        (sandbox.opened.hostname_path, "111111111111\n"),
        (sandbox.opened.resolv_conf_path, "nameserver 192.0.2.53\n"),
    ):
        assert text in await anyio.Path(path).read_text()
        status = await anyio.Path(path).stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o644, 0, 0)
    await engine.disconnect(ONE)
    await engine.remove_files(ONE)
    await no_links(engine)
    assert (run("nft", "list", "ruleset"), run("ss", "-Hlntu")) == before
    assert list((host.instance.data_root / "containers").iterdir()) == []
    assert list((host.instance.exec_root / "netns").iterdir()) == []


async def test_a_failed_connect_leaves_nothing(host):
    engine = await booted(host)
    before = run("nft", "list", "ruleset"), run("ss", "-Hlntu")
    with Echo("", 8080), pytest.raises(SystemFailure, match=r"8080:172\.17\.0\.2:80/tcp: address already in use"):
        await engine.connect(ONE, ports=(PORT, PortRequest(container_port=81, protocol="udp")))
    await no_links(engine)
    assert (run("nft", "list", "ruleset"), run("ss", "-Hlntu")) == before
    assert await engine.parts.namespaces.list() == frozenset()
    await engine.connect(ONE, ports=(PORT,))


async def test_a_port_of_ones_choice_goes_round_those_of_other_processes(host):
    engine = await booted(host)
    with Echo("", 32768), Echo("", 32769):
        sandbox = await engine.connect(ONE, ports=(PortRequest(container_port=80, protocol="tcp"),))
    assert {port.host_port for port in sandbox.ports} == {32770}
    with Echo(sandbox.namespace_path, 80):
        assert ask(host.outside, HOST_ADDRESS, 32770) == f"{OUTSIDE_ADDRESS} ping"


async def test_boot_restores_what_the_host_lost(host):
    engine = await booted(host)
    sandbox = await engine.connect(ONE, ports=(PORT,))
    run("nft", "flush", "ruleset")
    run("ip", "link", "del", host.instance.bridge)
    run("ip", "link", "del", engine.parts.driver.link_name(sandbox.endpoints[0]))
    engine.restart(parts(host.instance))
    await engine.boot()
    with Echo(sandbox.namespace_path, 80), Echo(host.outside, 7):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"
        assert ask("", "::1", 8080).endswith(" ping")
        assert ask(sandbox.namespace_path, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"


async def test_boot_removes_what_nobody_knows(host):
    engine = await booted(host)
    await engine.connect(ONE, ports=(PORT,))
    stranger = Engine(parts(host.instance))  # the same instance with a log that knows nothing
    await stranger.boot()
    await no_links(stranger)
    assert await stranger.parts.namespaces.list() == frozenset()
    assert await stranger.parts.publisher.published() == {}
    orphans = [r.event.kind for r in await stranger.events() if isinstance(r.event, OrphanRemoved)]
    assert set(orphans) - {"link"} == {"namespace", "published ports"}  # the link may have gone with the namespace


async def test_two_engines_share_a_host(host):
    other = Instance(
        name=f"{host.instance.name}x", data_root=host.directory / "data2", exec_root=host.directory / "run2"
    )
    engines = Engine(parts(host.instance)), Engine(parts(other))
    async with anyio.create_task_group() as group:
        for engine in engines:
            group.start_soon(engine.boot)
    subnets = {engine.state.networks.find("bridge")[0].subnets[0].subnet for engine in engines}
    assert len(subnets) == 2
    first, second = [await engine.connect(ONE) for engine in engines]
    with Echo(first.namespace_path, 80):
        await engines[0].connect(TWO, ports=(PORT,))
        with pytest.raises(SystemFailure, match="address already in use"):
            await engines[1].connect(TWO, ports=(PORT,))
        for engine in engines:
            await engine.boot()
        assert ask("", first.endpoints[0].address, 80).endswith(" ping")
        with pytest.raises(TimeoutError):
            ask(second.namespace_path, first.endpoints[0].address, 80, limit_s=0.3)
    for engine in engines:
        await engine.parts.publisher.withdraw(TWO)
    for name in (ONE, TWO):
        await engines[1].parts.namespaces.remove(name)
    run("umount", str(other.exec_root / "netns"))


async def test_without_the_proxy_ports_are_held_and_ipv4_works(host):
    engine = await booted(host, userland_proxy=False)
    sandbox = await engine.connect(ONE, ports=(PORT,))
    assert {port.host_address for port in sandbox.ports} == {"0.0.0.0"}
    with Echo(sandbox.namespace_path, 80):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"
        with pytest.raises(ConnectionRefusedError):
            ask("", "::1", 8080)
    with pytest.raises(SystemFailure, match="port is already allocated"):
        await engine.connect(TWO, ports=(PORT,))


async def test_many_sandboxes_at_once_are_all_reached(host):
    engine = await booted(host)
    names = [f"{number:064d}" for number in range(20)]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(engine.connect, name)
    addresses = [sandbox.endpoints[0].address for sandbox in engine.state.sandboxes]
    assert len(set(addresses)) == len(names)
    for name, sandbox in ((sandbox.container_id, sandbox) for sandbox in engine.state.sandboxes):
        with Echo(engine.parts.namespaces.path(name), 80):
            assert ask("", sandbox.endpoints[0].address, 80).endswith(" ping")
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(engine.disconnect, name)
    assert await engine.parts.namespaces.list() == frozenset()
    await no_links(engine)
