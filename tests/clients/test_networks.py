"""The default bridge, host and none, seen with the docker CLI."""

import pytest

from tests.engines import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def web(engine):
    """A container that serves /etc on a published port."""
    engine.docker(
        "run", "-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1:9090:80", "-p", "7000-7002:7000-7002/udp",
        "busybox", "httpd", "-f", "-p", "80", "-h", "/etc",
    )  # fmt: skip
    wait_until(lambda: _fetch(engine, "http://127.0.0.1:8080/passwd"), "httpd serves")
    yield "web"
    engine.docker("rm", "-f", "web")


def _fetch(engine, url: str) -> bool:
    return b"root" in engine.inside("wget", "-T", "5", "-qO-", url, check=False).stdout


def _get(address: str) -> str:
    """A request from inside: the static busybox's wget needs a C library's parts that the image hasn't."""
    return f"printf 'GET /passwd HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 80"


def _address(engine, name: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["IPAddress"])


def test_published_ports_from_everywhere_on_the_host(engine, web):
    gateway = engine.inspect(web)["NetworkSettings"]["Gateway"]
    for host in ("127.0.0.1", "[::1]", gateway):
        assert _fetch(engine, f"http://{host}:8080/passwd"), host
    assert _fetch(engine, "http://127.0.0.1:9090/passwd")
    assert not _fetch(engine, f"http://{gateway}:9090/passwd")


def test_ports_are_shown(engine, web):
    assert engine.out("port", web, "80/tcp").splitlines()[0] == "0.0.0.0:8080"
    assert "0.0.0.0:8080->80/tcp" in engine.out("ps", "--format", "{{.Ports}}", "--filter", "name=web")
    assert engine.out("port", web, "7001/udp").splitlines()[0] == "0.0.0.0:7001"


def test_containers_reach_each_other(engine, web):
    assert "root" in engine.out("run", "--rm", "busybox", "sh", "-c", _get(_address(engine, web)))


def test_a_taken_port_is_refused_and_nothing_is_left(engine, web):
    refused = engine.docker("run", "-d", "--name", "late", "-p", "8080:80", "busybox", "sleep", "60", check=False)
    assert refused.returncode == 125
    assert b"Bind for 0.0.0.0:8080 failed: port is already allocated" in refused.stderr
    assert engine.inspect("late")["State"]["Status"] == "created"
    engine.docker("rm", "late")


def test_a_port_of_the_engines_choice(engine):
    engine.docker("run", "-d", "--name", "any", "-p", "80", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    port = engine.out("port", "any", "80/tcp").splitlines()[0].rpartition(":")[2]
    assert int(port) >= 32768
    wait_until(lambda: _fetch(engine, f"http://127.0.0.1:{port}/passwd"), "httpd serves")
    engine.docker("rm", "-f", "any")


def test_names_inside(engine):
    out = engine.out(
        "run", "--rm", "--hostname", "box", "--add-host", "db:10.9.9.9", "--dns", "9.9.9.9",
        "busybox", "sh", "-c", "cat /etc/hosts /etc/resolv.conf; hostname; cat /etc/hostname",
    )  # fmt: skip
    assert "10.9.9.9\tdb" in out
    assert "nameserver 9.9.9.9" in out
    assert out.endswith("box\nbox")


def test_network_none_has_loopback_only(engine):
    assert engine.out("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net") == "lo"


def test_network_host_is_the_hosts(engine):
    inside = set(engine.out("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net").split())
    assert {"lo"} < inside


def test_a_shared_network(engine, web):
    assert "root" in engine.out(
        "run", "--rm", "--network", f"container:{web}", "busybox", "sh", "-c", _get("127.0.0.1")
    )


def test_addresses_are_free_again(engine):
    first = engine.out("run", "--rm", "busybox", "hostname", "-i")
    seen = {engine.out("run", "--rm", "busybox", "hostname", "-i") for _ in range(3)}
    assert first
    assert all(address.count(".") == 3 for address in seen)


def test_the_predefined_networks(engine):
    assert set(engine.out("network", "ls", "--format", "{{.Name}}").split()) == {"bridge", "host", "none"}
    unknown = engine.docker("run", "--rm", "--network", "nosuch", "busybox", check=False)
    assert unknown.returncode == 125
    assert b"network nosuch not found" in unknown.stderr
