"""The engine is out of its containers' reach: its bus, its socket, its log, its memory, and the host's own services."""

import json
import os
import socket
import stat
import subprocess

import pytest

from tests.clients.options import run
from tests.engines import wait_until

pytestmark = pytest.mark.root


def bus_port(engine) -> int:
    """The port of the engine's own bus."""
    (path,) = (engine.exec_root / "bus").glob("*.ports")
    return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])


def gateway(engine) -> str:
    """The host's address on the default bridge."""
    return str(engine.out("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge"))


@pytest.fixture(scope="module")
def service(engine):
    """A service of the host's on its loopback, and its port."""
    script = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "while True:\n c, _ = s.accept(); c.sendall(b'host service'); c.close()"
    )
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{engine.namespace}", "python3", "-c", script], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


def test_the_service_is_there(engine, service):
    assert engine.inside("busybox", "nc", "-w", "5", "127.0.0.1", str(service)).stdout == b"host service"


def test_the_hosts_loopback_is_out_of_reach(engine, service):
    for address in ("127.0.0.1", gateway(engine)):
        script = f"nc -w 2 {address} {service} </dev/null; true"
        assert "host service" not in run(engine, script=script, check=False), address


def test_not_even_by_a_route_of_ones_own(engine, service):
    """Published ports need route_localnet on the bridge; that must not open the host's loopback to containers."""
    script = (
        f"ip address del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via {gateway(engine)} dev eth0; "
        f"nc -w 2 127.0.0.1 {service} </dev/null; nc -w 2 127.0.0.1 {bus_port(engine)} </dev/null; true"
    )
    said = run(engine, "--cap-add", "NET_ADMIN", script=f"{script} 2>&1", check=False)
    assert "host service" not in said
    assert "INFO" not in said


def test_the_bus_is_out_of_reach(engine):
    port = bus_port(engine)
    for address in ("127.0.0.1", gateway(engine)):
        assert "INFO" not in run(engine, script=f"nc -w 2 {address} {port} </dev/null 2>&1; true", check=False)


def test_in_the_hosts_network_the_bus_wants_its_token(engine):
    script = f"printf 'CONNECT {{}}\\r\\nSUB > 1\\r\\nPING\\r\\n' | nc -w 2 127.0.0.1 {bus_port(engine)}; true"
    said = run(engine, "--network", "host", script=script.replace("printf", "busybox printf"), check=False)
    assert "INFO" in said
    assert "Authorization Violation" in said
    assert "PONG" not in said


def test_the_token_stands_nowhere_that_a_container_sees(engine):
    (configuration,) = (path for path in (engine.exec_root / "bus").iterdir() if path.suffix in (".conf", ".cfg"))
    assert stat.S_IMODE(configuration.stat().st_mode) & 0o077 == 0
    token = configuration.read_text().partition('token: "')[2].partition('"')[0]
    assert len(token) >= 32
    seen = run(
        engine, "--pid", "host", script="cat /proc/*/cmdline /proc/*/environ 2>/dev/null; env; true", check=False
    )
    assert token not in seen


def test_neither_socket_nor_log_is_in_a_container(engine):
    found = run(
        engine, script="find / -xdev \\( -name '*.sock' -o -name '*.db' -o -name '*.ports' \\) 2>/dev/null; true"
    )
    assert found == ""
    assert "DOCKER_HOST" not in run(engine, script="env")
    for path in (engine.data_root / "log", engine.data_root / "keys"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_among_the_hosts_processes_the_engine_keeps_to_itself(engine):
    pid = engine.process.pid
    script = (
        f"ls /proc/{pid}/root/ 2>/dev/null; cat /proc/{pid}/environ 2>/dev/null; ls /proc/{pid}/fd 2>/dev/null; "
        f"readlink /proc/{pid}/cwd; dd if=/proc/{pid}/mem of=/dev/null bs=1 count=1 2>/dev/null && echo mem; true"
    )
    assert run(engine, "--pid", "host", "-u", "web", script=f"{script} 2>/dev/null; true") == ""
    script = f"kill -0 {pid} 2>/dev/null && echo killed; true"
    assert run(engine, "--pid", "host", "-u", "web", script=script) == ""
    assert engine.process.poll() is None


def test_the_engines_descriptors_are_no_way_in(engine):
    """A process of the host's, seen by its number, has no root that a container may enter."""
    script = f"cat /proc/{os.getpid()}/root{engine.data_root}/nothing /proc/1/root/etc/hostname 2>/dev/null; true"
    assert run(engine, "--pid", "host", script=script) == ""


def test_the_abstract_socket_of_the_instance_holds_nothing(engine):
    """Containers in the host's network can name it; it is only a lock."""
    name = f"\0shiplog/{engine.names.bridge}"
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError, match="refused"):
        client.connect(name)


def test_the_engine_lives_on(engine):
    wait_until(lambda: engine.out("info", "--format", "{{.ServerVersion}}") != "", "it answers")
