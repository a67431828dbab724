"""The daemon as its operator meets it: flags, files, signals, sockets, and what it says when it can't start."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from events.envelope import Recorded
from events.messages.container import ContainerCreated
from events.messages.system import CommandRefused
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.engines import ROOT, EngineUnderTest, wait_until
from tests.unit.daemon.http.certificates import Authority

pytestmark = pytest.mark.root


@pytest.fixture
def engine():
    """An engine that isn't started yet."""
    subject = EngineUnderTest()
    try:
        yield subject
    finally:
        subject.close()


def shiplogd(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        capture_output=True,
        timeout=30,
        check=False,
        cwd=ROOT,
        env=os.environ | (environment or {}),
    )


def test_the_socket_is_for_root_and_a_group(engine):
    engine.start("--group", "root")
    assert stat.S_IMODE(engine.socket.stat().st_mode) == 0o660
    assert engine.stop() == 0
    assert not engine.socket.exists()
    assert not (engine.exec_root / "shiplogd.pid").exists()


def test_version_and_info(engine):
    engine.start("--label", "rack=7")
    version = json.loads(engine.out("version", "--format", "{{json .Server}}"))
    assert (version["ApiVersion"], version["MinAPIVersion"], version["Os"]) == ("1.51", "1.24", "linux")
    info = json.loads(engine.out("info", "--format", "{{json .}}"))
    assert info["Driver"] == "overlay2"
    assert info["DockerRootDir"] == str(engine.data_root)
    assert info["LiveRestoreEnabled"] is True
    assert info["Labels"] == ["rack=7"]


def test_a_hangup_reads_the_file_again(engine):
    path = engine.directory / "daemon.json"
    path.write_text('{"labels": ["a=1"]}')
    engine.start("--config-file", str(path))
    path.write_text('{"labels": ["a=2"], "debug": true}')
    engine.process.send_signal(signal.SIGHUP)

    def changed() -> bool:
        return bool(json.loads(engine.out("info", "--format", "{{json .Labels}}")) == ["a=2"])

    wait_until(changed, "the new label is shown")
    path.write_text("{ no json")
    engine.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the configuration stays as it is" in engine.log(), "the bad file is refused")
    assert changed()


def test_unknown_and_doubled_directives_are_named(engine):
    path = engine.directory / "daemon.json"
    path.write_text('{"no-such-key": 1}')
    unknown = shiplogd("--validate", "--config-file", str(path))
    assert unknown.returncode == 1
    assert b"don't match any configuration option: no-such-key" in unknown.stderr
    path.write_text('{"mtu": 1400}')
    doubled = shiplogd("--validate", "--config-file", str(path), "--mtu", "1300")
    assert doubled.returncode == 1
    assert b"specified both as a flag and in the configuration file: mtu" in doubled.stderr
    fine = shiplogd("--validate", "--config-file", str(path))
    assert (fine.returncode, fine.stderr) == (0, b"configuration OK\n")


def test_tcp_needs_tls_or_plain_words(engine):
    refused = shiplogd("-H", "tcp://127.0.0.1:0", "--instance", engine.instance, "--data-root", str(engine.data_root))
    assert refused.returncode == 1
    assert b"--tlsverify" in refused.stderr


def test_a_missing_tool_is_named_with_its_package(engine):
    found = shiplogd("--add-runtime", "other=/nowhere/other", "--data-root", str(engine.data_root))
    assert found.returncode == 1
    assert found.stderr == b"shiplogd: missing: /nowhere/other (runtime other of the configuration)\n"


def test_sockets_and_readiness_by_the_service_manager(engine):
    """What systemd does: pass a listening socket as descriptor 3, and wait for READY=1."""
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        listening.bind(str(engine.socket))
        listening.listen()
        manager.bind(str(engine.directory / "notify"))
        manager.settimeout(20)
        script = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
            "os.execv(sys.executable, [sys.executable, '-m', 'daemon', *sys.argv[2:]])"
        )
        command = [sys.executable, "-c", script, str(listening.fileno()), "--instance", engine.instance, "-H", "fd://"]
        command += ["--data-root", str(engine.data_root), "--exec-root", str(engine.exec_root)]
        engine.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{engine.namespace}", *command],
            pass_fds=[listening.fileno()],
            cwd=ROOT,
            env=os.environ | {"LISTEN_FDS": "1", "NOTIFY_SOCKET": str(engine.directory / "notify")},
        )
        assert manager.recv(100) == b"READY=1"
        assert engine.out("version", "--format", "{{.Server.Os}}") == "linux"
        assert engine.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"
    assert engine.socket.exists()  # the manager's


def test_a_second_daemon_on_the_same_exec_root_is_refused_whatever_its_data(engine):
    engine.start()
    second = ["-H", f"unix://{engine.directory}/2.sock", "--data-root", f"{engine.directory}/d2"]
    refused = shiplogd("--instance", "other", *second, "--exec-root", str(engine.exec_root))
    assert refused.returncode == 1
    assert str(engine.process.pid).encode() in refused.stderr
    assert engine.out("version", "--format", "{{.Server.Os}}") == "linux"


def test_a_stop_while_it_boots_is_orderly(engine):
    engine.start()
    engine.stop()
    command = [sys.executable, "-m", "daemon", "--instance", engine.instance, "-H", f"unix://{engine.socket}"]
    command += ["--data-root", str(engine.data_root), "--exec-root", str(engine.exec_root)]
    engine.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{engine.namespace}", *command], cwd=ROOT)
    wait_until(lambda: (engine.exec_root / "shiplogd.pid").exists(), "it boots")
    assert engine.stop() == 0
    assert not (engine.exec_root / "shiplogd.pid").exists()


def test_storage_driver_vfs(engine):
    engine.start("--storage-driver", "vfs")
    engine.load_busybox()
    assert engine.out("run", "--rm", "busybox", "echo", "copied") == "copied"
    assert engine.out("info", "--format", "{{.Driver}}") == "vfs"
    engine.docker("rmi", "busybox")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def test_no_secret_is_in_the_log_or_in_the_daemons_output(engine):
    canary = "canary-7f3a"
    engine.start("--debug")
    engine.load_busybox()
    of_the_image = keys(engine)
    engine.docker("run", "-d", "--name", "spy", "-e", f"SECRET={canary}", "busybox", "sleep", "600")
    engine.docker("exec", "-e", f"MORE={canary}", "spy", "true")
    assert f"SECRET={canary}" in engine.inspect("spy")["Config"]["Env"]
    engine.docker("rm", "-f", "spy")
    places = [*(engine.data_root / "log").iterdir(), engine.directory / "log", *(engine.exec_root / "bus").iterdir()]
    found = [path.name for path in places if path.is_file() and canary.encode() in path.read_bytes()]
    assert found == []
    assert keys(engine) == of_the_image
    engine.docker("rmi", "busybox")
    assert keys(engine) == set()


def keys(engine) -> set[str]:
    return {path.name for path in (engine.data_root / "keys").iterdir()}


def test_mutual_tls_and_whose_request_it_was(engine):
    ours, theirs = Authority(engine.directory), Authority(engine.directory, "strangers")
    certificate, key = ours.issue("127.0.0.1")
    flags = ["--tlscacert", str(ours.path), "--tlscert", str(certificate), "--tlskey", str(key)]
    engine.start("-H", "tcp://127.0.0.1:7776", "--tlsverify", *flags)
    command = ["docker", "-H", "tcp://127.0.0.1:7776", "--tlsverify", "--tlscacert", str(ours.path)]
    alice = [*command, "--tlscert", str(ours.issue("alice")[0]), "--tlskey", str(engine.directory / "alice.key")]
    mallory = [*command, "--tlscert", str(theirs.issue("eve")[0]), "--tlskey", str(engine.directory / "eve.key")]
    assert engine.inside(*alice, "volume", "create", "hers").stdout == b"hers\n"
    assert engine.inside(*mallory, "ps", check=False).returncode != 0
    assert engine.stop() == 0
    actors = [recorded.cause.actor for recorded in recorded_events(engine) if recorded.stream == "volume/hers"]
    assert {(actor.kind, actor.subject) for actor in actors} == {("tls", "CN=alice,O=Shiplog\\, Inc.")}
    assert actors[0].address.startswith("127.0.0.1")
    assert "docker" in actors[0].user_agent.lower()


def test_shiplog_is_trusted_by_its_certificate(engine):
    """From the environment, from a context of docker's, and as the engine that a lost one's log is replayed onto."""
    ours, theirs = Authority(engine.directory), Authority(engine.directory, "strangers")
    certificate, key = ours.issue("127.0.0.1")
    flags = ["--tlscacert", str(ours.path), "--tlscert", str(certificate), "--tlskey", str(key)]
    host = "tcp://127.0.0.1:7776"
    engine.start("-H", host, "--tlsverify", *flags)
    engine.docker("volume", "create", "kept")
    alice = docker_certificates(engine.directory / "alice", ours, ours, "alice")
    eve = docker_certificates(engine.directory / "eve", ours, theirs, "eve")
    misled = docker_certificates(engine.directory / "misled", theirs, ours, "bob")
    log = str(engine.data_root / "log")
    for words, expected in (
        (("volume", "ls", "-q"), "kept"),
        (("replay", log, "--onto", host), "volume kept: kept"),
    ):
        assert shiplog(engine, *words, DOCKER_HOST=host, **alice) == (0, expected, "")
        for stranger in (eve, misled):
            code, said, error = shiplog(engine, *words, DOCKER_HOST=host, **stranger)
            assert code == 1
            assert f"no trusted connection to the engine at {host} (" in said + error
            assert "check --tlscacert, --tlscert and --tlskey, or the files in DOCKER_CERT_PATH" in said + error
    configuration = {"DOCKER_CONFIG": str(engine.directory / "configuration")}
    docker_context(engine, "hers", host, alice, configuration)
    docker_context(engine, "eves", host, eve, configuration)
    assert shiplog(engine, "--context", "hers", "volume", "ls", "-q", **configuration) == (0, "kept", "")
    code, _, error = shiplog(engine, "--context", "eves", "volume", "ls", "-q", **configuration)
    assert (code, "no trusted connection" in error) == (1, True)


def docker_certificates(directory: Path, trusted: Authority, issuing: Authority, name: str) -> dict[str, str]:
    """A directory as the docker CLI wants it, and the variables that name it."""
    directory.mkdir()
    certificate, key = issuing.issue(name)
    for source, target in ((trusted.path, "ca.pem"), (certificate, "cert.pem"), (key, "key.pem")):
        shutil.copy(source, directory / target)
    return {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(directory)}


def docker_context(engine, name: str, host: str, certificates: dict[str, str], configuration: dict[str, str]) -> None:
    directory = certificates["DOCKER_CERT_PATH"]
    endpoint = f"host={host},ca={directory}/ca.pem,cert={directory}/cert.pem,key={directory}/key.pem"
    command = ["docker", "context", "create", name, "--docker", endpoint]
    subprocess.run(command, env=os.environ | configuration, check=True, capture_output=True, timeout=30)


def shiplog(engine, *words: str, **environment: str) -> tuple[int, str, str]:
    """The program where the engine's network is: its exit code and what it said."""
    settings = (f"{name}={value}" for name, value in environment.items())
    program = str(Path(sys.executable).with_name("shiplog"))
    done = engine.inside("env", *settings, program, *words, check=False)
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode().strip()


def test_every_change_has_a_name_on_it(engine):
    engine.start()
    engine.load_busybox()
    engine.docker("create", "--name", "named", "busybox")
    engine.docker("create", "--name", "named", "busybox", check=False)
    assert engine.stop() == 0
    events = recorded_events(engine)
    created = next(recorded for recorded in events if isinstance(recorded.event, ContainerCreated))
    actor = created.cause.actor
    docker = str(Path(shutil.which("docker") or "").resolve())
    assert (actor.kind, actor.uid, actor.gid, actor.executable) == ("unix", 0, 0, docker)
    assert actor.pid
    refusals = [(recorded, recorded.event) for recorded in events if isinstance(recorded.event, CommandRefused)]
    recorded, refused = refusals[0]
    assert (refused.command, refused.kind) == ("container.create", "conflict")
    assert 'The container name "/named" is already in use' in refused.reason
    assert recorded.cause.actor.uid == 0


def recorded_events(engine) -> list[Recorded]:
    """Everything in a stopped engine's log, its chain verified."""

    async def read() -> list[Recorded]:
        async with SqliteLog.open(engine.data_root / "log", SystemClock()) as log:
            await log.verify()
            return [recorded async for recorded in log.read(limit=0)]

    return anyio.run(read)
