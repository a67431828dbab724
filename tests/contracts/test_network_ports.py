"""What every port publisher keeps to."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from events.messages.network import PublishedPort
from handlers.networks.drivers.forwarder import Forwarder
from handlers.networks.drivers.nft import NftFirewall
from handlers.networks.drivers.ports import HostPorts
from handlers.networks.errors import PortInUse
from handlers.networks.ports import PortPublisher
from tests.fakes.network import FakePortPublisher
from tests.fakes.network_host import machine

ONE, TWO = "1" * 64, "2" * 64


def port(number: int, address: str = "0.0.0.0", protocol: str = "tcp") -> PublishedPort:
    return PublishedPort(container_port=80, protocol=protocol, host_address=address, host_port=number)


class Subject(NamedTuple):
    publisher: PortPublisher
    occupy: Callable[[int], None]


def fake() -> Iterator[Subject]:
    publisher = FakePortPublisher()
    yield Subject(publisher, lambda number: publisher.foreign.add(port(number)))


def _real(*, with_firewall: bool) -> Iterator[Subject]:
    with machine() as made, ExitStack() as sockets:
        firewall = NftFirewall(made.instance.firewall_table) if with_firewall else None

        def occupy(number: int) -> None:
            listener = sockets.enter_context(socket.socket())
            listener.bind(("0.0.0.0", number))
            listener.listen()

        yield Subject(HostPorts(firewall, Forwarder(made.instance.exec_root)), occupy)


def kernel_and_forwarder() -> Iterator[Subject]:
    yield from _real(with_firewall=True)


def forwarder_alone() -> Iterator[Subject]:
    yield from _real(with_firewall=False)


@pytest.fixture(
    params=[
        fake,
        pytest.param(kernel_and_forwarder, marks=pytest.mark.root),
        pytest.param(forwarder_alone, marks=pytest.mark.root),
    ],
    ids=lambda made: made.__name__,
)
def subject(request) -> Iterator[Subject]:
    yield from request.param()


async def test_nothing_is_published_at_first(subject):
    assert await subject.publisher.published() == {}
    await subject.publisher.withdraw(ONE)
    assert await subject.publisher.published() == {}


async def test_what_is_published_can_be_seen_and_withdrawn(subject):
    ports = (port(8000), port(8000, "::"), port(8000, protocol="udp"))
    await subject.publisher.publish(ONE, "10.215.0.2", ports)
    await subject.publisher.publish(ONE, "10.215.0.2", ports)
    await subject.publisher.publish(TWO, "10.215.0.3", (port(8001),))
    published = await subject.publisher.published()
    assert {name: set(found) for name, found in published.items()} == {ONE: set(ports), TWO: {port(8001)}}
    await subject.publisher.withdraw(ONE)
    assert await subject.publisher.published() == {TWO: (port(8001),)}


async def test_publishing_replaces_what_there_was(subject):
    await subject.publisher.publish(ONE, "10.215.0.2", (port(8000), port(8001)))
    await subject.publisher.publish(ONE, "10.215.0.2", (port(8001), port(8002)))
    assert await subject.publisher.published() == {ONE: (port(8001), port(8002))}


async def test_a_port_of_another_process_is_refused_and_nothing_is_published(subject):
    subject.occupy(8001)
    with pytest.raises(PortInUse) as refused:
        await subject.publisher.publish(ONE, "10.215.0.2", (port(8000), port(8001), port(8002)))
    assert refused.value.port == port(8001)
    assert str(refused.value) == ("failed to bind host port for 0.0.0.0:8001:10.215.0.2:80/tcp: address already in use")
    assert await subject.publisher.published() == {}
    await subject.publisher.publish(TWO, "10.215.0.3", (port(8000), port(8002)))


async def test_a_port_of_another_container_is_refused_and_stays_with_it(subject):
    await subject.publisher.publish(ONE, "10.215.0.2", (port(8000),))
    with pytest.raises(PortInUse):
        await subject.publisher.publish(TWO, "10.215.0.3", (port(8000, "127.0.0.1"),))
    assert await subject.publisher.published() == {ONE: (port(8000),)}


async def test_a_withdrawn_port_is_free_for_another(subject):
    await subject.publisher.publish(ONE, "10.215.0.2", (port(8000),))
    await subject.publisher.withdraw(ONE)
    await subject.publisher.publish(TWO, "10.215.0.3", (port(8000),))
    assert await subject.publisher.published() == {TWO: (port(8000),)}


async def test_ipv6_is_told(subject):
    assert await subject.publisher.carries_ipv6() is True
