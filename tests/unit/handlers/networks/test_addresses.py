import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidParameter
from events.messages.network import Subnet
from handlers.networks.addresses import (
    checked_hardware_address,
    fixed_address,
    free_address,
    free_subnet,
    hardware_address,
    subnet_of,
)
from handlers.networks.errors import AddressInUse, InvalidAddress, InvalidHardwareAddress, SubnetsExhausted
from handlers.networks.settings import DEFAULT_POOLS, AddressPool

SUBNET = Subnet(subnet="10.0.0.0/29", gateway="10.0.0.1")


def nobody(_: str) -> bool:
    return False


def test_the_first_address_is_the_one_behind_the_gateway():
    assert free_address(Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"), nobody) == "172.17.0.2"


def test_the_next_address_comes_after_the_last_one_and_goes_round():
    assert free_address(SUBNET, nobody, "10.0.0.3") == "10.0.0.4"
    assert free_address(SUBNET, nobody, "10.0.0.6") == "10.0.0.2"
    assert free_address(SUBNET, nobody, "192.0.2.1") == "10.0.0.2"


def test_only_the_range_is_given():
    ranged = Subnet(subnet="10.0.0.0/24", gateway="10.0.0.1", ip_range="10.0.0.8/30")
    given = {free_address(ranged, nobody, f"10.0.0.{n}") for n in range(7, 13)}
    assert given == {"10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11"}


def test_a_full_subnet_has_none():
    assert free_address(SUBNET, lambda _: True) is None


def test_point_to_point_subnets_have_two_addresses():
    assert free_address(Subnet(subnet="10.0.0.0/31", gateway="10.0.0.0"), nobody) == "10.0.0.1"


@given(st.integers(16, 30), st.data())
def test_no_address_is_given_twice_nor_one_that_is_reserved(prefix_length, data):
    network = ipaddress.IPv4Network(f"10.1.0.0/{prefix_length}")
    subnet = Subnet(subnet=str(network), gateway=str(network[1]))
    held: set[str] = set()
    after = ""
    for release in data.draw(st.lists(st.booleans(), max_size=40)):
        if release and held:
            held.remove(data.draw(st.sampled_from(sorted(held))))
            continue
        address = free_address(subnet, held.__contains__, after)
        if address is None:
            assert len(held) == network.num_addresses - 3
            continue
        assert address not in held
        assert address not in {str(network[0]), str(network[1]), str(network[-1])}
        assert ipaddress.IPv4Address(address) in network
        held.add(address)
        after = address


def test_a_fixed_address_is_given_if_it_can_be():
    assert fixed_address(SUBNET, "10.0.0.5", nobody) == "10.0.0.5"


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.1", "10.0.0.7"])
def test_reserved_addresses_are_in_use(address):
    with pytest.raises(AddressInUse, match=r"^Address already in use$"):
        fixed_address(SUBNET, address, nobody)


def test_a_taken_address_is_in_use():
    with pytest.raises(AddressInUse):
        fixed_address(SUBNET, "10.0.0.5", {"10.0.0.5"}.__contains__)


@pytest.mark.parametrize("address", ["10.0.1.5", "nonsense", "::1"])
def test_addresses_of_other_subnets_are_refused(address):
    with pytest.raises(InvalidAddress):
        fixed_address(SUBNET, address, nobody)


def test_hardware_addresses_follow_from_addresses():
    assert hardware_address("172.17.0.2") == "02:42:ac:11:00:02"
    assert checked_hardware_address("02:42:AC:11:00:02") == "02:42:ac:11:00:02"
    assert checked_hardware_address("02-42-AC-11-00-02") == "02:42:ac:11:00:02"


@pytest.mark.parametrize("address", ["zz", "01:42:ac:11:00:02", "02:42:ac:11:00"])
def test_addresses_that_no_interface_can_have_are_refused(address):
    with pytest.raises(InvalidHardwareAddress):
        checked_hardware_address(address)


def test_a_bridge_address_tells_its_subnet():
    assert subnet_of("192.168.5.9/24") == Subnet(subnet="192.168.5.0/24", gateway="192.168.5.9")


@pytest.mark.parametrize("address", ["192.168.5.0/24", "192.168.5.255/24", "192.168.5.1", "x", "::1/64"])
def test_bad_bridge_addresses_are_refused(address):
    with pytest.raises(InvalidParameter, match="invalid bridge address"):
        subnet_of(address)


def test_the_first_subnet_that_overlaps_nothing_is_taken():
    assert free_subnet(DEFAULT_POOLS, ()).subnet == "172.17.0.0/16"
    assert free_subnet(DEFAULT_POOLS, ("172.17.3.0/24", "172.16.0.0/14", "127.0.0.1/8")) == Subnet(
        subnet="172.20.0.0/16", gateway="172.20.0.1"
    )


def test_pools_are_cut_into_subnets():
    pool = AddressPool(base="10.0.0.0/8", size=24)
    assert free_subnet((pool,), ("10.0.0.7/24", "10.0.1.0/25")).subnet == "10.0.2.0/24"


def test_a_host_that_occupies_everything_gets_an_error():
    with pytest.raises(SubnetsExhausted):
        free_subnet(DEFAULT_POOLS, ("0.0.0.0/0",))
