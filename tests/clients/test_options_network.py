"""Options of the network: modes, names, resolvers, addresses and ports; seen from inside and from the host."""

import json
import socket
from pathlib import Path

import pytest

from tests.clients.options import created, refusal, run
from tests.clients.raw import RawClient
from tests.engines import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


@pytest.fixture(scope="module")
def web(engine):
    """A container that answers on port 80."""
    engine.docker(
        "run", "-d", "--name", "web", "--hostname", "webhost", "-p", "127.0.0.1:8081:80", "--expose", "90/udp",
        "busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -p 80 -h /",
    )  # fmt: skip
    yield "web"
    engine.docker("rm", "-f", "web")


def address(engine, name: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


# ---- modes


def test_a_network_of_ones_own(engine):
    links = run(engine, script="ls /sys/class/net; ip -4 addr show eth0").split()
    assert {"lo", "eth0"} <= set(links)
    assert run(engine, "--network", "bridge", script="ls /sys/class/net").split() == ["eth0", "lo"]
    assert run(
        engine, "--network", "none", script="ls /sys/class/net; ip -4 addr show lo | grep -c 127.0.0.1"
    ).split() == [
        "lo",
        "1",
    ]


def test_the_hosts_network(engine):
    host = Path(f"/run/netns/{engine.namespace}").stat().st_ino
    seen = run(engine, "--network", "host", script="readlink /proc/self/ns/net; hostname; cat /etc/hostname")
    assert seen.splitlines() == [f"net:[{host}]", socket.gethostname(), socket.gethostname()]


def test_the_network_of_another_container(engine, web):
    script = "readlink /proc/self/ns/net; hostname; cat /etc/hosts; echo x | nc -w 5 127.0.0.1 80 | head -n 1"
    seen = run(engine, "--network", "container:web", script=script).splitlines()
    assert seen[0] == engine.out("exec", "web", "readlink", "/proc/self/ns/net")
    assert seen[1] == "webhost"
    assert f"{address(engine, 'web')}\twebhost" in seen
    assert seen[-1].startswith("HTTP/1.")
    identity = engine.out("create", "--network", "container:web", "busybox", "true")
    shown = engine.inspect(identity)
    assert shown["HostConfig"]["NetworkMode"] == f"container:{engine.inspect('web')['Id']}"
    assert shown["Config"]["Hostname"] == "webhost"
    engine.docker("rm", identity)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--hostname", "x"), "conflicting options: hostname and the network mode"),
        (("--dns", "9.9.9.9"), "conflicting options: dns and the network mode"),
        (("--add-host", "a:1.2.3.4"), "conflicting options: custom host-to-IP mapping and the network mode"),
        (("-p", "80"), "conflicting options: port publishing and the container type network mode"),
        (("-P",), "conflicting options: port publishing and the container type network mode"),
        (("--expose", "80"), "conflicting options: port exposing and the container type network mode"),
        (("--link", "web:x"), "conflicting options: container type network can't be used with links"),
    ],
    ids=str,
)
def test_what_another_containers_network_excludes(engine, web, options, text):
    assert text in refusal(engine, "--network", "container:web", *options)


def test_the_network_of_what_does_not_run(engine):
    engine.docker("create", "--name", "still", "busybox", "true")
    said = refusal(engine, "--network", "container:still")
    assert "cannot join network namespace of a non running container" in said
    engine.docker("rm", "still")


# ---- names


def test_names_of_other_hosts(engine):
    gateway = json.loads(engine.out("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    hosts = run(
        engine, "--add-host", "db:10.9.9.9", "--add-host", "six:2001:db8::5", "--add-host", "eq=10.8.8.8",
        "--add-host", "up:host-gateway", script="cat /etc/hosts",
    ).splitlines()  # fmt: skip
    assert {"10.9.9.9\tdb", "2001:db8::5\tsix", "10.8.8.8\teq", f"{gateway}\tup"} <= set(hosts)


def test_resolvers(engine):
    seen = run(
        engine, "--dns", "9.9.9.9", "--dns", "2001:db8::53", "--dns-search", "a.test", "--dns-search", "b.test",
        "--dns-option", "ndots:3", script="cat /etc/resolv.conf",
    ).splitlines()  # fmt: skip
    assert seen == ["nameserver 9.9.9.9", "nameserver 2001:db8::53", "search a.test b.test", "options ndots:3"]
    assert "search" not in run(engine, "--dns-search", ".", script="cat /etc/resolv.conf")


# ---- addresses


def test_a_hardware_address(engine):
    asked = "02:42:ac:99:88:77"
    assert run(engine, "--mac-address", asked, script="cat /sys/class/net/eth0/address") == asked


def test_a_hardware_address_that_is_none(engine, client):
    assert "not a valid mac address" in refusal(engine, "--mac-address", "zz")
    body = {"Image": "busybox", "MacAddress": "zz"}
    assert client.ask("POST", "/containers/create?name=wrong", body).status == 201  # as Docker does
    answer = client.ask("POST", "/containers/wrong/start")
    assert (answer.status, answer.message) == (400, "invalid MAC address: zz")
    engine.docker("rm", "wrong")
    assert "conflicting options: mac-address and the network mode" in client.ask(
        "POST", "/v1.43/containers/create",
        {"Image": "busybox", "MacAddress": "02:42:ac:99:88:77", "HostConfig": {"NetworkMode": "host"}},
    ).message  # fmt: skip


def test_what_the_default_bridge_refuses(engine):
    said = refusal(engine, "--ip", "172.17.0.99")
    assert "invalid config for network bridge: invalid endpoint settings:" in said
    assert "user specified IP address is supported on user defined networks only" in said
    text = "network-scoped aliases are only supported for user-defined networks"
    assert text in refusal(engine, "--network-alias", "other")


def test_options_of_an_endpoint(engine):
    options = (
        "name=bridge,driver-opt=com.docker.network.endpoint.ifname=wire,"
        '"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,'
        'net.ipv4.neigh.IFNAME.gc_stale_time=44"'
    )
    script = (
        "ls /sys/class/net; cat /proc/sys/net/ipv4/conf/wire/log_martians /proc/sys/net/ipv4/neigh/wire/gc_stale_time"
    )
    assert run(engine, "--network", options, script=script).split() == ["lo", "wire", "1", "44"]
    said = refusal(engine, "--network", "name=bridge,driver-opt=com.docker.network.endpoint.ifname=a/b")
    assert 'invalid interface name "a/b"' in said


# ---- ports


def test_ports_are_published_where_it_was_said(engine, web):
    shown = engine.inspect(web)
    assert shown["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "90/udp": None,
    }
    assert shown["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}]}
    assert set(shown["Config"]["ExposedPorts"]) == {"80/tcp", "90/udp"}

    def answers() -> bool:
        return b"hello" in engine.inside("wget", "-T", "5", "-qO-", "http://127.0.0.1:8081/", check=False).stdout

    wait_until(answers, "the published port answers")


def test_every_exposed_port_is_published(engine):
    engine.docker(
        "run", "-d", "--name", "all", "-P", "--expose", "81", "--expose", "7000-7001/udp", "busybox", "sleep", "600"
    )
    ports = engine.inspect("all")["NetworkSettings"]["Ports"]
    assert set(ports) == {"81/tcp", "7000/udp", "7001/udp"}
    assert all(int(binding["HostPort"]) >= 1024 for bindings in ports.values() for binding in bindings)
    engine.docker("rm", "-f", "all")


@pytest.mark.parametrize(
    ("port", "bindings", "status", "text"),
    [
        ("80/foo", [{"HostPort": "8099"}], 400, "invalid proto: foo"),
        ("80/tcp", [{"HostPort": "99999"}], 400, "invalid JSON: invalid port '99999'"),
        ("80/tcp", [{"HostIp": "nowhere", "HostPort": "1"}], 400, "invalid JSON: invalid IP address: nowhere"),
    ],
)
def test_a_port_that_cannot_be(client, engine, port, bindings, status, text):
    body = {"Image": "busybox", "HostConfig": {"PortBindings": {port: bindings}}}
    answer = client.ask("POST", "/containers/create?name=wrong", body)
    if answer.status == 201:
        answer = client.ask("POST", "/containers/wrong/start")
        engine.docker("rm", "-f", "wrong")
    assert answer.status == status
    assert text in answer.message


def test_ports_in_the_hosts_network_are_warned_of(client):
    _, warnings = created(
        client, {"HostConfig": {"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "8099"}]}}}
    )
    assert warnings == ["Published ports are discarded when using host network mode"]


# ---- settings of the kernel


def test_settings_of_the_kernel(engine):
    assert run(engine, "--sysctl", "net.ipv4.ip_default_ttl=77", script="cat /proc/sys/net/ipv4/ip_default_ttl") == "77"
    assert run(engine, "--sysctl", "kernel.msgmax=9999", script="cat /proc/sys/kernel/msgmax") == "9999"
    assert run(engine, script="cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert "kernel.foo" in refusal(engine, "--sysctl", "kernel.foo=1")
    assert "net.ipv4.ip_forward" in refusal(engine, "--network", "host", "--sysctl", "net.ipv4.ip_forward=1")


def test_inspect_shows_the_network_as_it_was_given(client):
    host = {
        "Dns": ["9.9.9.9"], "DnsOptions": ["ndots:1"], "DnsSearch": ["a.test"], "ExtraHosts": ["a:1.2.3.4"],
        "Sysctls": {"net.ipv4.ip_default_ttl": "77"}, "PublishAllPorts": True,
    }  # fmt: skip
    shown, warnings = created(client, {"HostConfig": host})
    assert warnings == []
    assert {name: shown["HostConfig"][name] for name in host} == host
