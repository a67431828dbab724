from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import EngineError, InvalidParameter, Unsupported
from events.messages.network import PortRequest, PublishedPort
from handlers.networks.errors import PortAllocated, PortsExhausted
from handlers.networks.port_choice import FIRST_EPHEMERAL, LAST_EPHEMERAL, TakenPorts, choose_ports, is_flexible


def want(host_port: int = 0, end: int = 0, address: str = "", protocol: str = "tcp", to: int = 80) -> PortRequest:
    return PortRequest(
        container_port=to, protocol=protocol, host_address=address, host_port=host_port, host_port_end=end
    )


def have(host_port: int, address: str = "0.0.0.0", protocol: str = "tcp", to: int = 80) -> PublishedPort:
    return PublishedPort(container_port=to, protocol=protocol, host_address=address, host_port=host_port)


def choose(*requests: PortRequest, taken: tuple[PublishedPort, ...] = (), **rest) -> tuple[PublishedPort, ...]:
    return choose_ports(requests, TakenPorts(taken), **rest)


def test_a_port_without_address_is_published_on_both_families():
    assert choose(want(8080)) == (have(8080), have(8080, "::"))
    assert choose(want(8080), ipv6=False) == (have(8080),)


def test_sctp_is_published_on_ipv4_alone():
    assert choose(want(8080, protocol="sctp")) == (have(8080, protocol="sctp"),)


def test_an_address_is_published_by_itself():
    assert choose(want(80, address="127.0.0.1")) == (have(80, "127.0.0.1"),)
    assert choose(want(80, address="[::1]")) == (have(80, "::1"),)


def test_what_can_not_be_carried_on_ipv6_is_refused():
    with pytest.raises(Unsupported):
        choose(want(80, address="::1"), ipv6=False)
    with pytest.raises(Unsupported):
        choose(want(80, address="::1", protocol="sctp"))


@pytest.mark.parametrize(
    ("taken", "conflicts"),
    [
        (have(80), True),
        (have(80, "127.0.0.1"), True),
        (have(80, "::"), True),
        (have(81), False),
        (have(80, protocol="udp"), False),
    ],
)
def test_wildcards_conflict_with_every_address_of_their_family(taken, conflicts):
    if not conflicts:
        assert choose(want(80), taken=(taken,))
        return
    with pytest.raises(PortAllocated, match=r"^Bind for .*:80 failed: port is already allocated$"):
        choose(want(80), taken=(taken,))


def test_the_address_that_is_taken_by_a_wildcard_is_named():
    with pytest.raises(PortAllocated, match=r"^Bind for 127\.0\.0\.1:80 failed: port is already allocated$"):
        choose(want(80, address="127.0.0.1"), taken=(have(80),))


def test_addresses_of_different_families_and_different_addresses_do_not_conflict():
    assert choose(want(80, address="127.0.0.1"), taken=(have(80, "::"), have(80, "127.0.0.2")))


def test_a_range_is_tried_from_its_start():
    assert choose(want(80, 82), taken=(have(80),))[0].host_port == 81
    with pytest.raises(PortsExhausted):
        choose(want(80, 82), taken=(have(80), have(81, "::"), have(82, "10.0.0.1")))


def test_free_choice_goes_on_after_the_last_port_and_round():
    assert choose(want(), after=0)[0].host_port == FIRST_EPHEMERAL
    assert choose(want(), after=40000)[0].host_port == 40001
    assert choose(want(), after=LAST_EPHEMERAL)[0].host_port == FIRST_EPHEMERAL


def test_fixed_ports_are_chosen_before_free_ones_and_order_is_kept():
    chosen = choose(want(to=1), want(FIRST_EPHEMERAL, to=2), ipv6=False)
    assert [(port.container_port, port.host_port) for port in chosen] == [
        (1, FIRST_EPHEMERAL + 1),
        (2, FIRST_EPHEMERAL),
    ]


def test_the_same_host_port_twice_is_a_conflict():
    with pytest.raises(PortAllocated):
        choose(want(80, to=1), want(80, to=2))


@pytest.mark.parametrize(
    "request_",
    [want(80, protocol="icmp"), want(80, to=0), want(70000), want(80, address="nonsense"), want(80, 70000)],
)
def test_nonsense_is_refused(request_):
    with pytest.raises(InvalidParameter):
        choose(request_)


def test_only_what_was_not_fixed_is_flexible():
    requests = (want(80, to=1), want(81, 90, to=2), want(to=3))
    assert not is_flexible(requests, have(80, to=1))
    assert is_flexible(requests, have(85, to=2))
    assert is_flexible(requests, have(40000, to=3))


REQUESTS = st.builds(
    want,
    host_port=st.sampled_from([0, 0, 1000, 1001, 1002]),
    end=st.sampled_from([0, 1002, 1003]),
    address=st.sampled_from(["", "0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "::1"]),
    protocol=st.sampled_from(["tcp", "udp"]),
    to=st.integers(1, 5),
)


def overlap(one: PublishedPort, other: PublishedPort) -> bool:
    """Whether a packet could be meant for both."""
    if (one.protocol, one.host_port) != (other.protocol, other.host_port):
        return False
    if (":" in one.host_address) != (":" in other.host_address):
        return False
    addresses = {one.host_address, other.host_address}
    return len(addresses) == 1 or bool(addresses & {"0.0.0.0", "::"})


@given(st.lists(st.lists(REQUESTS, max_size=4), max_size=8), st.integers(0, 65535))
def test_no_port_is_given_twice(containers, after):
    given_ports: list[PublishedPort] = []
    for requests in containers:
        try:
            chosen = choose(*requests, taken=tuple(given_ports), after=after)
        except EngineError:
            continue
        given_ports += chosen
        after = chosen[-1].host_port if chosen else after
    assert not any(overlap(one, other) for one, other in combinations(given_ports, 2))
