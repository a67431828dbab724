"""Driver options of an endpoint."""

import pytest

from events.errors import InvalidParameter
from handlers.endpoint_options import IFNAME, SYSCTLS, interface_name, sysctls


def test_an_interface_has_the_name_that_was_asked_for():
    assert interface_name({}, "eth0") == "eth0"
    assert interface_name({IFNAME: "wire.5"}, "eth0") == "wire.5"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "a%d", "lo", ".", "..", "x" * 16, "a\n"])
def test_what_is_no_name_of_an_interface(name):
    with pytest.raises(InvalidParameter, match="invalid interface name"):
        interface_name({IFNAME: name}, "eth0")


def test_settings_name_the_interface():
    text = "net.ipv4.conf.IFNAME.forwarding=1,net.ipv6.neigh.IFNAME.gc_stale_time = 5"
    assert sysctls({SYSCTLS: "net.ipv4.conf.IFNAME.forwarding=1,net.ipv6.conf.ifname.mtu=1400"}, "wire") == {
        "net.ipv4.conf.wire.forwarding": "1",
        "net.ipv6.conf.wire.mtu": "1400",
    }
    assert sysctls({}, "wire") == {}
    with pytest.raises(InvalidParameter):
        sysctls({SYSCTLS: text}, "wire")


@pytest.mark.parametrize(
    "text", ["net.ipv4.conf.eth0.forwarding=1", "kernel.IFNAME.x=1", "net.ipv4.conf.IFNAME.forwarding", "IFNAME"]
)
def test_what_is_no_setting_of_the_interface(text):
    with pytest.raises(InvalidParameter, match="unable to validate sysctl"):
        sysctls({SYSCTLS: text}, "eth0")
