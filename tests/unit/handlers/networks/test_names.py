import pytest

from events.errors import InvalidParameter
from events.messages.network import Endpoint, LinkedNames, OpenSandbox
from handlers.networks.names import HostNames, NameFileTexts, parse, relinked, render, texts
from handlers.networks.settings import NetworkSettings

ENDPOINT = Endpoint(
    endpoint_id="e",
    network_id="n",
    network_name="bridge",
    interface="eth0",
    address="172.17.0.2",
    prefix_length=16,
    gateway="172.17.0.1",
    mac_address="02:42:ac:11:00:02",
)
LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def write(
    host: HostNames | None = None, settings: NetworkSettings | None = None, addresses=None, **wishes
) -> NameFileTexts:
    command = OpenSandbox(container_id="c", container_name="web", hostname="web", **wishes)
    endpoints = (ENDPOINT,) if command.mode == "bridge" else ()
    return texts(
        command, endpoints, host or HostNames(), settings or NetworkSettings(), ENDPOINT.gateway, addresses or {}
    )


def test_hosts_has_local_names_then_extra_ones_then_its_own():
    written = write(extra_hosts=("db:10.0.0.9", "up:host-gateway", "six:::1", "seven:[fd00::7]"), domainname="lan")
    assert written.hosts == (
        LOCAL + "10.0.0.9\tdb\n172.17.0.1\tup\n::1\tsix\nfd00::7\tseven\n172.17.0.2\tweb.lan web\n"
    )
    assert written.hostname == "web\n"


def test_without_an_address_hosts_has_no_name_of_its_own():
    assert write(mode="none").hosts == LOCAL


def test_the_host_mode_shows_the_hosts_own_names():
    host = HostNames(hosts="127.0.0.1 localhost\n192.0.2.1 me", resolv_conf="nameserver 127.0.0.53\n# stub\n")
    written = write(host, mode="host", extra_hosts=("db:10.0.0.9",))
    assert written.hosts == "127.0.0.1 localhost\n192.0.2.1 me\n10.0.0.9\tdb\n"
    assert written.resolv_conf == host.resolv_conf


def test_what_host_gateway_stands_for_can_be_set():
    settings = NetworkSettings(host_gateway="192.0.2.99")
    assert "192.0.2.99\tup\n" in write(settings=settings, extra_hosts=("up:host-gateway",)).hosts


@pytest.mark.parametrize("line", ["bad", "bad:", ":10.0.0.1", "db:nonsense"])
def test_bad_extra_hosts_are_refused(line):
    with pytest.raises(InvalidParameter):
        write(extra_hosts=(line,))


def test_the_hosts_resolvers_are_taken_but_those_on_its_loopback_or_on_ipv6():
    host = HostNames(
        resolv_conf="# comment\nnameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver fd00::53\n"
        "search lan\noptions ndots:2\n"
    )
    assert write(host).resolv_conf == "nameserver 192.0.2.53\nsearch lan\noptions ndots:2\n"


def test_public_resolvers_serve_where_there_are_no_others():
    host = HostNames(resolv_conf="nameserver 127.0.0.1\n")
    assert write(host).resolv_conf == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"


def test_behind_systemds_stub_its_own_resolvers_are_taken():
    host = HostNames(
        resolv_conf="nameserver 127.0.0.53\nsearch stub\n", systemd_resolv_conf="nameserver 192.0.2.7\nsearch lan\n"
    )
    assert write(host).resolv_conf == "nameserver 192.0.2.7\nsearch lan\n"


def test_the_containers_wishes_come_before_the_daemons_before_the_hosts():
    host = HostNames(resolv_conf="nameserver 192.0.2.53\nsearch lan\noptions ndots:2\n")
    settings = NetworkSettings(dns=("192.0.2.1",), dns_search=("daemon",), dns_options=("rotate",))
    assert write(host, settings).resolv_conf == "nameserver 192.0.2.1\nsearch daemon\noptions rotate\n"
    mine = write(host, settings, dns=("127.0.0.1",), dns_search=("a", "b"), dns_options=("debug",))
    assert mine.resolv_conf == "nameserver 127.0.0.1\nsearch a b\noptions debug\n"


def test_a_dot_means_no_search_at_all():
    host = HostNames(resolv_conf="nameserver 192.0.2.53\nsearch lan\n")
    assert write(host, dns_search=(".",)).resolv_conf == "nameserver 192.0.2.53\n"


def test_wishes_hold_in_host_mode_too():
    host = HostNames(resolv_conf="nameserver 127.0.0.53\nsearch lan\n")
    assert write(host, mode="host", dns_search=("x",)).resolv_conf == "nameserver 127.0.0.53\nsearch x\n"


def test_a_resolv_conf_survives_parsing_and_rendering():
    text = "nameserver 192.0.2.1\nsearch a b\noptions ndots:1 rotate\nsortlist 10.0.0.0\n"
    assert render(parse(text)) == text


LINKED = (LinkedNames(container_id="d", names=("store", "dbhost", "db")),)


def test_linked_containers_are_known_by_their_names():
    lines = write(links=LINKED, addresses={"d": "172.17.0.9"}).hosts.splitlines()
    assert "172.17.0.9\tstore dbhost db" in lines
    assert not [line for line in write(links=LINKED).hosts.splitlines() if "store" in line]


def test_only_the_line_of_an_alias_is_readdressed():
    hosts = "# store\n1.1.1.1\tstore dbhost db\n2.2.2.2\tother store\n\n#1.1.1.1 store\nstore\n3.3.3.3 store"
    assert relinked(hosts, LINKED, {"d": "9.9.9.9"}) == (
        "# store\n9.9.9.9\tstore dbhost db\n2.2.2.2\tother store\n\n#1.1.1.1 store\nstore\n9.9.9.9 store"
    )
    assert relinked(hosts, LINKED, {}) == hosts
