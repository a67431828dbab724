"""Engines that share a host: two of ours, and a dockerd where there is one, in one network namespace."""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.engines import EngineUnderTest, busybox_archive, remove_cgroups, wait_until

pytestmark = pytest.mark.root

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
OUTSIDE_PORT = 7000
COMMAND_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
BEYOND = f"printf 'GET /greeting HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {OUTSIDE} {OUTSIDE_PORT}"


class SharedHost:
    """A network namespace for several engines, and a machine outside it that serves a greeting."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.directory = Path(tempfile.mkdtemp(prefix="so", dir="/tmp"))
        self.namespace, self.outside = f"sl-host-{mark}", f"sl-out-{mark}"
        self._run("ip", "netns", "add", self.namespace)
        self._run("ip", "netns", "add", self.outside)
        peer = ("peer", "name", "up0", "netns", self.outside)
        self._run("ip", "-n", self.namespace, "link", "add", "up0", "type", "veth", *peer)
        for namespace, address in ((self.namespace, HOST), (self.outside, OUTSIDE)):
            self._run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "up0")
            self._run("ip", "-n", namespace, "link", "set", "up0", "up")
            self._run("ip", "-n", namespace, "link", "set", "lo", "up")
        (self.directory / "greeting").write_text("greeting from outside\n")
        httpd = ("busybox", "httpd", "-f", "-p", str(OUTSIDE_PORT), "-h", str(self.directory))
        self._server = subprocess.Popen(["ip", "netns", "exec", self.outside, *httpd])

    def _run(self, *command: str, check: bool = True) -> str:
        result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=check)
        return result.stdout

    def inside(self, *command: str) -> str:
        """What a command in the engines' namespace prints."""
        return self._run("ip", "netns", "exec", self.namespace, *command)

    def serves(self, port: int) -> bool:
        """Whether the machine outside reaches a published port."""
        url = f"http://{HOST}:{port}/passwd"
        return "root:" in self._run(
            "ip", "netns", "exec", self.outside, "wget", "-T", "3", "-t", "1", "-qO-", url, check=False
        )

    def close_forwarding(self) -> None:
        """What a host looks like that has never forwarded: dockerd then drops what it doesn't know."""
        self.inside("sysctl", "-qw", "net.ipv4.ip_forward=0")

    def close(self) -> None:
        """Remove everything."""
        self._server.kill()
        self._server.wait(10)
        for namespace in (self.outside, self.namespace):
            self._run("ip", "netns", "delete", namespace, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


class Dockerd:
    """A dockerd with directories of its own in somebody's network namespace."""

    def __init__(self, namespace: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sd", dir="/tmp"))
        self.cgroup_parent = f"/sl-{self.directory.name}"
        self._namespace = namespace
        self._strays = [path for path in (Path("/etc/docker"), Path("/run/docker")) if not path.exists()]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        (self.directory / "daemon.json").write_text("{}")
        places = {"config-file": "daemon.json", "data-root": "d", "exec-root": "e", "pidfile": "pid"}
        flags = [f"--{flag}={self.directory / name}" for flag, name in places.items()]
        flags += [f"--host=unix://{self.directory}/s.sock", f"--cgroup-parent={self.cgroup_parent}"]
        flags += ["--bip=10.227.0.1/24", "--storage-driver=overlay2"]
        with (self.directory / "log").open("ab") as output:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self._namespace}", "dockerd", *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(self._answers, "dockerd answers", 60)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        return self.docker("version", check=False).returncode == 0

    def docker(self, *arguments: str, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """The docker CLI."""
        command = ["docker", "-H", f"unix://{self.directory}/s.sock", *arguments]
        result = subprocess.run(command, capture_output=True, input=stdin, timeout=COMMAND_TIMEOUT_S, check=False)
        assert result.returncode == 0 or not check, (arguments, result.stderr)
        return result

    def stop(self) -> None:
        """SIGTERM to it and to nobody else; it ends its containers and its containerd."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Remove everything, by force if need be."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                ids = self.docker("ps", "-aq", check=False).stdout.decode().split()
                self.docker("rm", "-f", *ids, check=False)
                self.stop()
            self._process.kill()
            self._process.wait(10)
        for pid in self._strayed():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        for mount in reversed([line.split()[4] for line in lines if str(self.directory) in line]):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        for path in (self.directory, *self._strays):
            shutil.rmtree(path, ignore_errors=True)
        remove_cgroups(self.cgroup_parent)

    def _strayed(self) -> list[int]:
        """What it started and left: its command line names the directory."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [pid for pid in pids if str(self.directory) in _command_line(pid)]


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def serve(engine: EngineUnderTest | Dockerd, port: int) -> None:
    """A web server that publishes a port."""
    command = ("busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    engine.docker("run", "-d", "--name", "web", "-p", f"{port}:80", *command)


def reaches_outside(engine: EngineUnderTest | Dockerd) -> bool:
    """Whether its containers do."""
    said = engine.docker("run", "--rm", "busybox", "sh", "-c", BEYOND, check=False)
    return b"greeting from outside" in said.stdout


@pytest.fixture
def host():
    """The shared host."""
    shared = SharedHost()
    try:
        yield shared
    finally:
        shared.close()


@pytest.fixture
def pair(host):
    """Two engines of ours on it, not started."""
    engines = [EngineUnderTest(namespace=host.namespace), EngineUnderTest(namespace=host.namespace)]
    try:
        yield engines
    finally:
        for engine in engines:
            engine.close()


def start(engine: EngineUnderTest, port: int) -> None:
    engine.start()
    engine.load_busybox()
    serve(engine, port)


def test_two_engines_in_one_network_namespace(host, pair):
    one, two = pair
    for engine, port in ((one, 8081), (two, 8082)):
        start(engine, port)
        wait_until(lambda port=port: host.serves(port), f"port {port} is served")
        assert reaches_outside(engine)
    networks = [engine.inspect("web")["NetworkSettings"] for engine in pair]
    assert networks[0]["Gateway"] != networks[1]["Gateway"]
    groups = [Path(f"/proc/{engine.inspect('web')['State']['Pid']}/cgroup").read_text() for engine in pair]
    for engine, group in zip(pair, groups, strict=True):
        assert f"{engine.names.cgroup_parent}/" in group
    taken = one.docker("run", "--rm", "-p", "8082:80", "busybox", "true", check=False)
    assert (taken.returncode, b"address already in use" in taken.stderr) == (125, True)

    table = host.inside("nft", "list", "table", "ip", two.names.firewall_table)
    bridge = host.inside("ip", "-brief", "address", "show", two.names.bridge)
    assert one.stop() == 0
    assert (host.serves(8081), host.serves(8082)) == (True, True)  # a daemon's end ends no container
    one.start()
    one.docker("rm", "-f", "web")
    assert one.stop() == 0
    assert one.leftovers() == []
    assert (host.serves(8081), host.serves(8082)) == (False, True)
    assert host.inside("nft", "list", "table", "ip", two.names.firewall_table) == table
    assert host.inside("ip", "-brief", "address", "show", two.names.bridge) == bridge
    assert reaches_outside(two)


if shutil.which("dockerd"):

    @pytest.fixture
    def dockerd(host):
        """A dockerd on the shared host, not started."""
        daemon = Dockerd(host.namespace)
        try:
            yield daemon
        finally:
            daemon.close()

    def test_two_engines_and_a_dockerd_that_drops_what_it_does_not_know(host, pair, dockerd):
        one, two = pair
        host.close_forwarding()
        dockerd.start()
        assert "-P FORWARD DROP" in host.inside("iptables", "-S", "FORWARD")
        dockerd.docker("load", "-q", stdin=busybox_archive())
        serve(dockerd, 8083)
        alone = host.inside("iptables-save")
        start(one, 8081)
        start(two, 8082)
        _all_work(host, one, two, dockerd)

        dockerd.docker("rm", "-f", "web")
        dockerd.stop()
        assert (host.serves(8081), host.serves(8082), host.serves(8083)) == (True, True, False)
        dockerd.start()
        serve(dockerd, 8083)
        _all_work(host, one, two, dockerd)

        one.docker("rm", "-f", "web")
        assert one.stop() == 0
        wait_until(lambda: host.serves(8083), "dockerd's port is served")
        assert (host.serves(8081), host.serves(8082)) == (False, True)
        assert reaches_outside(two)
        assert reaches_outside(dockerd)
        rules = host.inside("iptables-save").splitlines()
        assert [rule for rule in _rules(alone) if rule not in rules] == []

    def test_a_dockerd_that_comes_later(host, pair, dockerd):
        one, _ = pair
        start(one, 8081)
        dockerd.start()
        dockerd.docker("load", "-q", stdin=busybox_archive())
        serve(dockerd, 8083)
        wait_until(lambda: host.serves(8083), "dockerd's port is served")
        assert host.serves(8081)
        assert reaches_outside(one)
        assert reaches_outside(dockerd)


def _all_work(host: SharedHost, *engines: EngineUnderTest | Dockerd) -> None:
    for port in (8081, 8082, 8083):
        wait_until(lambda port=port: host.serves(port), f"port {port} is served")
    for engine in engines:
        assert reaches_outside(engine)


def _rules(saved: str) -> list[str]:
    """Rules and policies, without counters, times and the addresses of containers that come and go."""
    return [
        line for line in saved.splitlines() if line.startswith("-A") and "--dport" not in line and "/32" not in line
    ]
