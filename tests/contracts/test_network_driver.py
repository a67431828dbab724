"""What every network driver keeps to."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from events.errors import InvalidParameter, SystemFailure
from events.messages.network import Endpoint
from handlers.networks.drivers.bridge import BridgeDriver
from handlers.networks.drivers.nft import NftFirewall
from handlers.networks.ports import BridgeSettings, Namespaces, NetworkDriver
from tests.fakes.network import FakeNamespaces, FakeNetworkDriver
from tests.fakes.network_host import machine

SETTINGS = BridgeSettings(network_id="n" * 64, bridge="", subnet="10.215.0.0/24", gateway="10.215.0.1")
CONTAINER = "c" * 64


class Subject(NamedTuple):
    driver: NetworkDriver
    namespaces: Namespaces
    bridge: str

    @property
    def settings(self) -> BridgeSettings:
        return BridgeSettings(
            network_id=SETTINGS.network_id, bridge=self.bridge, subnet=SETTINGS.subnet, gateway=SETTINGS.gateway
        )


def endpoint(number: int = 2) -> Endpoint:
    return Endpoint(
        endpoint_id=f"{number:08x}" * 8,
        network_id=SETTINGS.network_id,
        network_name="bridge",
        interface="eth0",
        address=f"10.215.0.{number}",
        prefix_length=24,
        gateway="10.215.0.1",
        mac_address=f"02:42:0a:d7:00:{number:02x}",
    )


def fake() -> Iterator[Subject]:
    yield Subject(FakeNetworkDriver(), FakeNamespaces(), "bridge0")


def bridge() -> Iterator[Subject]:
    with machine() as made:
        firewall = NftFirewall(made.instance.firewall_table)
        yield Subject(BridgeDriver(made.instance, firewall), made.namespaces, made.instance.bridge)


@pytest.fixture(params=[fake, pytest.param(bridge, marks=pytest.mark.root)], ids=["fake", "bridge"])
def subject(request) -> Iterator[Subject]:
    yield from request.param()


async def test_a_network_can_be_made_twice(subject):
    await subject.driver.ensure_network(subject.settings)
    await subject.driver.ensure_network(subject.settings)
    assert SETTINGS.subnet in await subject.driver.occupied()
    assert SETTINGS.subnet not in await subject.driver.occupied(subject.bridge)


async def test_a_connected_endpoint_has_a_link(subject):
    await subject.driver.ensure_network(subject.settings)
    path = await subject.namespaces.create(CONTAINER)
    await subject.driver.connect(CONTAINER, path, endpoint())
    await subject.driver.connect(CONTAINER, path, endpoint())
    assert await subject.driver.list_links() == {subject.driver.link_name(endpoint())}


async def test_links_of_endpoints_differ(subject):
    assert subject.driver.link_name(endpoint(2)) != subject.driver.link_name(endpoint(3))


async def test_disconnecting_what_is_absent_is_fine(subject):
    await subject.driver.ensure_network(subject.settings)
    await subject.driver.disconnect(CONTAINER, endpoint())
    await subject.driver.remove_link(subject.driver.link_name(endpoint()))
    assert await subject.driver.list_links() == frozenset()


async def test_a_link_is_gone_when_its_removal_has_returned(subject):
    await subject.driver.ensure_network(subject.settings)
    await subject.driver.connect(CONTAINER, await subject.namespaces.create(CONTAINER), endpoint())
    await subject.driver.disconnect(CONTAINER, endpoint())
    await subject.driver.remove_link(subject.driver.link_name(endpoint()))
    assert await subject.driver.list_links() == frozenset()


async def test_only_own_links_are_removed(subject):
    with pytest.raises(InvalidParameter):
        await subject.driver.remove_link("lo")


async def test_an_unknown_network_is_an_error(subject):
    path = await subject.namespaces.create(CONTAINER)
    with pytest.raises(SystemFailure):
        await subject.driver.connect(CONTAINER, path, endpoint())
    assert await subject.driver.list_links() == frozenset()
