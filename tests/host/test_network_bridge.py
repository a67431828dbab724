"""Containers' network on a real kernel: who reaches whom, and that nothing is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from events.messages.network import Endpoint, PublishedPort
from handlers.kernel.namespaces import inside
from handlers.networks.drivers.bridge import BridgeDriver
from handlers.networks.drivers.forwarder import Forwarder
from handlers.networks.drivers.nft import NftFirewall
from handlers.networks.drivers.ports import HostPorts
from handlers.networks.ports import BridgeSettings
from tests.fakes.network_host import (
    DATAGRAM,
    HOST_ADDRESS,
    HOST_ADDRESS6,
    OUTSIDE_ADDRESS,
    Echo,
    Machine,
    ask,
    machine,
    run,
)

pytestmark = pytest.mark.root

GATEWAY = "10.215.0.1"
SHORT_S = 0.3
LIMIT_S = 5.0


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine() as made:
        yield made


def endpoint(number: int) -> Endpoint:
    return Endpoint(
        endpoint_id=f"{number:08x}" * 8,
        network_id="n" * 64,
        network_name="bridge",
        interface="eth0",
        address=f"10.215.0.{number}",
        prefix_length=24,
        gateway=GATEWAY,
        mac_address=f"02:42:0a:d7:00:{number:02x}",
    )


def published(host_port: int, container_port: int = 80, protocol: str = "tcp", address: str = "0.0.0.0"):
    return PublishedPort(container_port=container_port, protocol=protocol, host_address=address, host_port=host_port)


PORTS = (
    published(8080),
    published(8080, address="::"),
    published(8081, 81, "udp"),
    published(8081, 81, "udp", "::"),
    published(9000, address="127.0.0.1"),
    published(9001, address=HOST_ADDRESS),
)


class Network:
    """An engine's network parts on a machine."""

    def __init__(self, host: Machine, *, iptables: bool = True, **settings: object) -> None:
        self.host = host
        self.firewall = NftFirewall(host.instance.firewall_table) if iptables else None
        self.driver = BridgeDriver(host.instance, self.firewall)
        self.ports = HostPorts(self.firewall, Forwarder(host.instance.exec_root))
        self.settings = BridgeSettings(
            network_id="n" * 64,
            bridge=host.instance.bridge,
            subnet="10.215.0.0/24",
            gateway=GATEWAY,
            **settings,  # type: ignore[arg-type]
        )

    async def start(self) -> "Network":
        await self.driver.ensure_network(self.settings)
        return self

    async def connect(self, number: int) -> str:
        path = await self.host.namespaces.create(f"c{number}")
        await self.driver.connect(f"c{number}", path, endpoint(number))
        return path

    async def disconnect(self, number: int) -> None:
        await self.driver.disconnect(f"c{number}", endpoint(number))
        await self.host.namespaces.remove(f"c{number}")

    async def publish(self, number: int, *ports: PublishedPort) -> None:
        await self.ports.publish(f"c{number}", f"10.215.0.{number}", ports)


async def until(holds) -> None:
    with anyio.fail_after(LIMIT_S):
        while not await holds():
            await anyio.sleep(0.01)


def sysctl(namespace: str, name: str, value: str) -> None:
    inside(namespace, lambda: Path("/proc/sys/net", name).write_text(value))


async def test_published_ports_are_reached_from_everywhere(host):
    network = await Network(host).start()
    one, two = await network.connect(2), await network.connect(3)
    await network.publish(2, *PORTS)
    with Echo(one, 80), Echo(one, 81, DATAGRAM):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"  # the client's address is kept
        assert ask(host.outside, HOST_ADDRESS, 8081, DATAGRAM) == f"{OUTSIDE_ADDRESS} ping"
        assert ask(host.outside, HOST_ADDRESS, 9001) == f"{OUTSIDE_ADDRESS} ping"
        assert ask(host.outside, HOST_ADDRESS6, 8080) == f"{GATEWAY} ping"
        assert ask(host.outside, HOST_ADDRESS6, 8081, DATAGRAM) == f"{GATEWAY} ping"
        for address in (HOST_ADDRESS, GATEWAY, "127.0.0.1", "127.0.0.9", "::1", HOST_ADDRESS6):
            assert ask("", address, 8080).endswith(" ping")
            assert ask("", address, 8081, DATAGRAM).endswith(" ping")
        assert ask("", "127.0.0.1", 9000) == f"{GATEWAY} ping"
        for address in (HOST_ADDRESS, GATEWAY):
            assert ask(two, address, 8080).endswith(" ping")
            assert ask(one, address, 8080).endswith(" ping")  # itself
            assert ask(one, address, 8081, DATAGRAM).endswith(" ping")
        for where, address in ((host.outside, HOST_ADDRESS), ("", GATEWAY)):
            with pytest.raises(ConnectionRefusedError):
                ask(where, address, 9000)
        with pytest.raises(ConnectionRefusedError):
            ask("", "127.0.0.1", 9001)


async def test_containers_reach_the_world_and_each_other(host):
    network = await Network(host).start()
    one, two = await network.connect(2), await network.connect(3)
    with Echo(host.outside, 7), Echo(two, 80), Echo("", 99):
        assert ask(one, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"
        assert ask(one, "10.215.0.3", 80) == "10.215.0.2 ping"
        assert ask(one, GATEWAY, 99) == "10.215.0.2 ping"
        assert ask("", "10.215.0.3", 80) == f"{GATEWAY} ping"


async def test_nobody_outside_reaches_what_is_not_published(host):
    network = await Network(host).start()
    one = await network.connect(2)
    run("ip", "route", "add", "10.215.0.0/24", "via", HOST_ADDRESS, namespace=host.outside)
    with Echo(one, 80):
        with pytest.raises(TimeoutError):
            ask(host.outside, "10.215.0.2", 80, limit_s=SHORT_S)
        run("nft", "flush", "chain", "ip", host.instance.firewall_table, "shield")
        assert ask(host.outside, "10.215.0.2", 80).endswith(" ping")  # so the rule it was that stopped it


async def test_a_container_does_not_reach_the_hosts_loopback(host):
    network = await Network(host).start()
    one = await network.connect(2)
    sysctl(one, "ipv4/conf/all/route_localnet", "1")
    run("ip", "route", "del", "table", "local", "127.0.0.1", "dev", "lo", namespace=one)
    run("ip", "route", "del", "table", "local", "127.0.0.0/8", "dev", "lo", namespace=one)
    run("ip", "route", "add", "127.0.0.0/8", "via", GATEWAY, "src", "10.215.0.2", namespace=one)
    with Echo("", 77, DATAGRAM, "127.0.0.1") as service, service.client(one) as client:
        client.sendto(b"stopped", ("127.0.0.1", 77))
        run("nft", "flush", "chain", "ip", host.instance.firewall_table, "shield")
        client.sendto(b"passed", ("127.0.0.1", 77))

        async def was_served() -> bool:
            return service.served > 0

        await until(was_served)
        assert service.heard == [b"passed"]


async def test_without_firewall_the_forwarder_serves_alone(host):
    network = await Network(host, iptables=False).start()
    one = await network.connect(2)
    await network.publish(2, *PORTS)
    with Echo(one, 80), Echo(one, 81, DATAGRAM):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{GATEWAY} ping"
        assert ask(host.outside, HOST_ADDRESS, 8081, DATAGRAM) == f"{GATEWAY} ping"
        assert ask("", "127.0.0.1", 9000) == f"{GATEWAY} ping"
    assert "table" not in run("nft", "list", "ruleset")


async def test_containers_that_are_kept_apart_reach_only_what_is_published(host):
    network = await Network(host, inter_container=False).start()
    one, two = await network.connect(2), await network.connect(3)
    await network.publish(2, *PORTS)
    with Echo(one, 80), Echo(one, 81, DATAGRAM), Echo(host.outside, 7):
        with pytest.raises(OSError, match=r"timed out|No route"):
            ask(two, "10.215.0.2", 80, limit_s=SHORT_S)
        assert ask(two, HOST_ADDRESS, 8080) == f"{GATEWAY} ping"
        assert ask(two, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"


async def test_without_masquerade_the_world_sees_the_containers(host):
    network = await Network(host, masquerade=False).start()
    one = await network.connect(2)
    run("ip", "route", "add", "10.215.0.0/24", "via", HOST_ADDRESS, namespace=host.outside)
    with Echo(host.outside, 7):
        assert ask(one, OUTSIDE_ADDRESS, 7) == "10.215.0.2 ping"


async def test_the_mtu_is_that_of_the_network(host):
    network = await Network(host, mtu=1400).start()
    one = await network.connect(2)
    assert "mtu 1400" in run("ip", "link", "show", "eth0", namespace=one)
    assert "mtu 1400" in run("ip", "link", "show", host.instance.bridge)


async def test_a_container_has_no_ipv6_address_but_its_loopbacks(host):
    network = await Network(host).start()
    one = await network.connect(2)
    assert "inet6" not in run("ip", "address", "show", "eth0", namespace=one)
    assert "::1/128" in run("ip", "address", "show", "lo", namespace=one)


async def test_a_connected_container_is_reached_at_once(host):
    """A first packet that is lost would be sent again only after a second."""
    network = await Network(host).start()
    witness = await network.connect(9)
    for number in range(20, 40):
        path = await network.connect(number)
        with Echo(path, 80):
            assert ask(witness, f"10.215.0.{number}", 80, limit_s=0.9) == "10.215.0.9 ping"


async def test_an_address_that_comes_back_with_another_container_is_reached_at_once(host):
    network = await Network(host).start()
    one, witness = await network.connect(2), await network.connect(9)
    with Echo(one, 80):
        assert ask(witness, "10.215.0.2", 80) == "10.215.0.9 ping"
        await network.disconnect(2)  # the socket above keeps its namespace alive
        with pytest.raises(OSError, match=r"timed out|No route"):
            ask(witness, "10.215.0.2", 80, limit_s=SHORT_S)
        path = await host.namespaces.create("c2-again")
        again = endpoint(2)
        renamed = Endpoint(
            endpoint_id="f" * 64,
            network_id=again.network_id,
            network_name="bridge",
            interface="eth0",
            address=again.address,
            prefix_length=24,
            gateway=GATEWAY,
            mac_address="02:42:0a:d7:00:ff",
        )
        await network.driver.connect("c2-again", path, renamed)
        with Echo(path, 80) as second, Echo("", 80):
            assert second.port == 80
            assert ask(witness, "10.215.0.2", 80) == "10.215.0.9 ping"
            assert ask("", "10.215.0.2", 80) == f"{GATEWAY} ping"
            assert second.served == 2


async def test_disconnecting_and_withdrawing_leave_nothing(host):
    network = await Network(host).start()

    def traces() -> tuple[object, ...]:
        names = {line.split()[0] for line in run("ip", "-brief", "link").splitlines()}
        return names, run("nft", "list", "ruleset"), run("ss", "-Hlntu")

    before = traces()
    await network.connect(2)
    await network.publish(2, *PORTS)
    await network.ports.withdraw("c2")
    await network.disconnect(2)

    async def no_links() -> bool:
        return await network.driver.list_links() == frozenset()

    await until(no_links)
    assert traces() == before
    assert await host.namespaces.list() == frozenset()


async def test_a_withdrawn_udp_port_is_withdrawn_from_running_conversations_too(host):
    network = await Network(host).start()
    one, two = await network.connect(2), await network.connect(3)
    with Echo(one, 81, DATAGRAM) as first, Echo(two, 81, DATAGRAM) as second, second.client(host.outside) as client:
        client.connect((HOST_ADDRESS, 8081))
        for number, server in ((2, first), (3, second)):
            await network.publish(number, published(8081, 81, "udp"))
            client.send(b"ping")
            assert client.recv(100) == f"{OUTSIDE_ADDRESS} ping".encode()
            assert server.served == 1
            await network.ports.withdraw(f"c{number}")


SERVICE = """
import sys
import anyio
sys.path.insert(0, sys.argv[1])
from tests.host.test_network_bridge import Network, PORTS
from tests.fakes.network_host import Machine
from handlers.instance import Instance
from handlers.kernel.namespaces import PinnedNamespaces
from pathlib import Path
host = Machine(Path(sys.argv[2]))
host.instance = Instance(name=sys.argv[3], data_root=Path(sys.argv[2]) / "data", exec_root=Path(sys.argv[2]) / "run")
async def main():
    network = await Network(host).start()
    await network.connect(2)
    await network.publish(2, *PORTS)
    print("ready", flush=True)
    await anyio.sleep_forever()
anyio.run(main)
"""


def killed_engine(host: Machine) -> None:
    """Let a process do what an engine does, and kill it."""
    root = Path(__file__).resolve().parents[2]
    arguments = (sys.executable, "-c", SERVICE, str(root), str(host.directory), host.instance.name)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == "ready\n"
        os.kill(engine.pid, signal.SIGKILL)


async def test_everything_is_served_on_when_the_engine_is_killed(host):
    killed_engine(host)
    one = host.namespaces.path("c2")
    with Echo(one, 80), Echo(one, 81, DATAGRAM):
        for where, address in (
            (host.outside, HOST_ADDRESS),
            (host.outside, HOST_ADDRESS6),
            ("", "127.0.0.1"),
            ("", "::1"),
        ):
            assert ask(where, address, 8080).endswith(" ping")
            assert ask(where, address, 8081, DATAGRAM).endswith(" ping")
        successor = await Network(host).start()
        assert {port for ports in (await successor.ports.published()).values() for port in ports} == set(PORTS)
        await successor.publish(2, *PORTS)
        assert ask(host.outside, HOST_ADDRESS, 8080).endswith(" ping")
        await successor.ports.withdraw("c2")
        with pytest.raises(ConnectionRefusedError):
            ask(host.outside, HOST_ADDRESS6, 8080)


async def test_where_dockerd_closed_forwarding_the_bridge_is_let_through(host):
    run("iptables", "-P", "FORWARD", "DROP")
    run("iptables", "-N", "DOCKER-USER")
    run("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
    run("iptables", "-A", "FORWARD", "-j", "DOCKER-USER")
    network = await Network(host).start()
    await Network(host).start()
    assert run("iptables", "-S").count(host.instance.firewall_table) == 2 * 2  # interface's and tag's name are alike
    one = await network.connect(2)
    await network.publish(2, published(8080))
    run("ip", "route", "add", "10.215.0.0/24", "via", HOST_ADDRESS, namespace=host.outside)
    with Echo(one, 80), Echo(host.outside, 7):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"
        assert ask(one, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"


async def test_another_subnet_replaces_the_bridges_address(host):
    network = await Network(host).start()
    moved = BridgeSettings(
        network_id="n" * 64, bridge=host.instance.bridge, subnet="10.216.0.0/24", gateway="10.216.0.1"
    )
    await network.driver.ensure_network(moved)
    shown = run("ip", "-4", "-brief", "address", "show", host.instance.bridge)
    assert "10.216.0.1/24" in shown
    assert GATEWAY not in shown


async def test_a_table_that_somebody_flushed_comes_back_with_the_next_port(host):
    network = await Network(host).start()
    one = await network.connect(2)
    await network.publish(2, published(8080))
    run("nft", "flush", "ruleset")
    await network.connect(3)
    await network.publish(3, published(8090))
    with Echo(one, 80), Echo(host.outside, 7):
        assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"
        assert ask(one, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"


@pytest.mark.parametrize("flush", ["flush ruleset", "flush table ip {table}", "delete table ip {table}"])
async def test_a_table_that_somebody_flushed_comes_back_by_itself(host, monkeypatch, flush):
    """Masquerading and the shields too, which no port needs."""
    monkeypatch.setattr("handlers.networks.drivers.ports._LOOK_PAUSE_S", 0.01)
    network = await Network(host).start()
    one = await network.connect(2)
    await network.publish(2, published(8080))
    await network.publish(3, published(8090))
    whole = run("nft", "-s", "list", "ruleset")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(network.ports.keep)
        run("nft", *flush.format(table=host.instance.firewall_table).split())

        async def is_back() -> bool:
            return run("nft", "-s", "list", "ruleset") == whole

        await until(is_back)
        with Echo(one, 80), Echo(host.outside, 7):
            assert ask(host.outside, HOST_ADDRESS, 8080) == f"{OUTSIDE_ADDRESS} ping"
            assert ask(one, OUTSIDE_ADDRESS, 7) == f"{HOST_ADDRESS} ping"
        await network.ports.withdraw("c3")
        assert "8090" not in run("nft", "list", "ruleset")
        tasks.cancel_scope.cancel()
