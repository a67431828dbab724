import subprocess
import sys

LOADED = "import handlers.networks.drivers.links, handlers.networks.drivers.conntrack, sys; print(*sys.modules)"


def test_that_only_messages_are_loaded_of_a_package_with_much_more():
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True).stdout
    loaded = set(said.decode().split())
    assert "pyroute2.netlink.rtnl.ifinfmsg" in loaded
    assert not {"pyroute2.ndb", "pyroute2.iproute", "unittest"} & loaded
