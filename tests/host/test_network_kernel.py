"""The ways into the kernel that networks need: netlink, namespaces, nftables."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.netlink import NLM_F_CREATE
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETADDR, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from handlers.kernel.calls import KernelRefused
from handlers.kernel.namespaces import in_new_thread, inside, is_pinned, pin_new, share, unpin
from handlers.kernel.netlink import Netlink, NetlinkError, message
from handlers.kernel.nftables import Nftables, NftablesError
from handlers.networks.drivers import links
from tests.fakes.network_host import Machine, machine, run

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine() as made:
        yield made


def own_namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_a_refusal_names_its_place_in_the_batch_and_the_others_are_done(host):
    with Netlink() as netlink:
        links.add_bridge(netlink, "one", "02:42:00:00:00:01")
        bad = message(ifinfmsg, RTM_DELLINK, attrs=[("IFLA_IFNAME", "absent")])
        good = message(ifinfmsg, RTM_DELLINK, attrs=[("IFLA_IFNAME", "one")])
        with pytest.raises(NetlinkError) as refused:
            netlink.request(bad, good)
        assert (refused.value.errno, refused.value.index) == (errno.ENODEV, 0)
        assert links.find(netlink, "one") is None
        netlink.request(bad, ignore=(errno.ENODEV,))


def test_the_kernels_own_words_are_in_the_error(host):
    with Netlink() as netlink, pytest.raises(NetlinkError, match="Operation not supported: Unknown device type"):
        netlink.request(message(ifinfmsg, RTM_NEWLINK, NLM_F_CREATE, [("IFLA_MTU", 0)]))


def test_a_long_dump_is_complete(host):
    run("sh", "-c", "for i in $(seq 200); do echo addr add 10.99.0.$i/32 dev lo; done | ip -batch -")
    with Netlink() as netlink:
        found = [cidr for _, cidr in links.addresses(netlink) if cidr.startswith("10.99.0.")]
        packed = socket.inet_aton("10.99.0.77")
        wanted = netlink.dump(message(ifaddrmsg, RTM_GETADDR, family=socket.AF_INET), containing=packed)
    assert len(set(found)) == 200
    assert [each.get_attr("IFA_LOCAL") for each in wanted] == ["10.99.0.77"]


def test_entering_a_namespace_leaves_the_caller_where_it_was(host):
    before = own_namespace()
    assert inside(host.outside, own_namespace) != before
    assert own_namespace() == before


def test_what_fails_in_another_thread_fails_here():
    with pytest.raises(ZeroDivisionError):
        in_new_thread(lambda: 1 // 0)


def test_an_absent_namespace_is_refused(tmp_path: Path):
    with pytest.raises(KernelRefused, match="no such file or directory"):
        inside(str(tmp_path / "absent"), own_namespace)


def test_a_new_namespace_has_its_loopback_up(host, tmp_path: Path):
    path = tmp_path / "new"
    pin_new(path)
    assert is_pinned(path)
    assert "UP" in run("ip", "-brief", "link", "show", "lo", namespace=str(path))
    unpin(path)
    unpin(path)
    assert not path.exists()
    assert not is_pinned(path)


def test_a_shared_directory_can_be_shared_again(tmp_path: Path):
    directory = tmp_path / "netns"
    share(directory)
    share(directory)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {directory} " in line]
    assert len(mounts) == 1
    assert "shared:" in mounts[0]
    run("umount", str(directory))


def test_a_refused_transaction_changes_nothing_and_says_why(host):
    nftables = Nftables()
    with pytest.raises(NftablesError, match="No such file or directory"):
        nftables.run("add table ip good\nadd rule ip nosuch nosuch accept")
    assert "good" not in nftables.run("list tables")
    nftables.run("add table ip good")
    assert "good" in nftables.run("list tables")
    nftables.close()
