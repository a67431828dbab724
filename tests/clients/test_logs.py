"""Log drivers and their options as clients see them."""

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest, wait_until

pytestmark = pytest.mark.root
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def engine():
    """An engine that tests may kill, with defaults for logs."""
    subject = EngineUnderTest("--log-opt", "max-file=3")
    try:
        subject.start()
        subject.load_busybox()
        yield subject
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()


@pytest.fixture(autouse=True)
def clean(engine):
    yield
    if ids := engine.out("ps", "-aq").split():
        engine.docker("rm", "-f", *ids)


def files(engine, name: str) -> list[Path]:
    """The files of its output, the oldest first."""
    directory = Path(engine.inspect(name)["LogPath"]).parent
    found = [path for path in directory.iterdir() if path.name.removesuffix(".gz")[11:].isdecimal()]
    return [
        *sorted(found, key=lambda path: int(path.name.removesuffix(".gz")[11:])),
        *(path for path in directory.iterdir() if path.name == "output.log"),
    ]


def ended(engine, name: str) -> None:
    wait_until(lambda: not engine.inspect(name)["State"]["Running"], f"{name} has ended", PATIENCE_S)


COUNT = 'i=0; while [ $i -lt {0} ]; do i=$((i+1)); echo "line $i"; done; sleep {1}'


def count(lines: int, then_s: float = 0) -> tuple[str, ...]:
    return ("busybox", "sh", "-c", COUNT.format(lines, then_s))


def numbers(text: str) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in text.splitlines()]


@pytest.mark.parametrize("compress", ["false", "true"])
def test_rotation(engine, compress):
    options = ("--log-opt", "max-size=20k", "--log-opt", f"compress={compress}")
    engine.docker("run", "-d", "--name", "talks", *options, "busybox", "sh", "-c",
                  "i=0; while :; do i=$((i+1)); echo line $i; usleep 300; done")  # fmt: skip
    wait_until(lambda: max((int(p.name.removesuffix(".gz")[11:]) for p in files(engine, "talks")[:-1]), default=0) > 4,
               "it was rotated some times", PATIENCE_S)  # fmt: skip
    engine.docker("kill", "talks")
    found = numbers(engine.out("logs", "talks"))
    assert found == list(range(found[0], found[-1] + 1))  # nothing lost or repeated in what is kept
    assert found[0] > 1
    wait_until(lambda: len(files(engine, "talks")) <= 3, "as much is kept as the daemon's default says", PATIENCE_S)
    kept = files(engine, "talks")
    assert len(kept) == 3
    assert any(path.suffix == ".gz" for path in kept) is (compress == "true")
    tail = numbers(engine.out("logs", "--tail", "700", "talks"))
    assert tail == list(range(found[-1] - len(tail) + 1, found[-1] + 1))
    assert len(tail) == min(700, len(found))
    assert engine.inspect("talks")["HostConfig"]["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "20k", "compress": compress, "max-file": "3"},
    }


def test_a_follower_loses_nothing_over_rotations(engine):
    lines = 20_000
    run = engine.docker("run", "--rm", "--log-opt", "max-size=10k", "--log-opt", "max-file=1", *count(lines))
    assert numbers(run.stdout.decode()) == list(range(1, lines + 1))


def test_a_rotation_that_a_killed_daemon_had_begun(engine):
    script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"
    engine.docker("run", "-d", "--name", "talks", "--log-opt", "max-size=100m", "busybox", "sh", "-c", script)
    wait_until(lambda: engine.out("logs", "talks") != "", "it talks", PATIENCE_S)
    engine.kill()
    current = output_of(engine)
    current.rename(f"{current}.1")  # and conmon hasn't been told
    time.sleep(0.3)
    engine.start()
    with engine.popen("logs", "-f", "talks") as following:
        seen = [following.stdout.readline() for _ in range(10)]
        wait_until(current.exists, "conmon writes to its next file", PATIENCE_S)
        before = int(engine.out("logs", "--tail", "1", "talks").rpartition(" ")[2])
        while int(seen[-1].split()[1]) < before + 50:
            seen.append(following.stdout.readline())
        following.kill()
    found = [int(line.split()[1]) for line in seen]
    assert found == list(range(1, found[-1] + 1))


def output_of(engine) -> Path:
    (path,) = engine.data_root.glob("containers/*/output.log")
    return Path(path)


def test_none_keeps_nothing_and_yet_shows_it_to_who_is_there(engine):
    run = engine.docker("run", "--name", "quiet", "--log-driver", "none", "busybox", "echo", "hello")
    assert run.stdout == b"hello\n"
    said = engine.docker("logs", "quiet", check=False)
    assert said.returncode == 1
    assert b"configured logging driver does not support reading" in said.stderr
    with RawClient(engine.socket) as client:
        assert client.ask("GET", "/v1.51/containers/quiet/logs?stdout=1").status == 501


def test_local(engine):
    engine.docker("run", "--name", "one", "--log-driver", "local", "busybox", "sh", "-c", "echo out; echo err >&2")
    done = engine.docker("logs", "-t", "one")
    assert done.stdout.endswith(b" out\n")
    assert done.stderr.endswith(b" err\n")


def test_details(engine):
    engine.docker(
        "run", "--name", "one", "--label", "tier=front", "-e", "MODE=fast", "--log-opt", "labels=tier", "--log-opt",
        "env=MODE", "--log-opt", "tag={{.Name}}", "busybox", "echo", "hello",
    )  # fmt: skip
    assert engine.out("logs", "--details", "one") == "MODE=fast,tag=one,tier=front hello"
    assert engine.out("logs", "one") == "hello"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--log-driver", "nosuch"), 'error looking up logging plugin nosuch: plugin "nosuch" not found'),
        (("--log-opt", "size=1"), "unknown log opt 'size' for json-file log driver"),
        (("--log-driver", "syslog", "--log-opt", "tags=x"), "unknown log opt 'tags' for syslog log driver"),
        (("--log-driver", "gelf"), "logging driver gelf is not supported yet"),
        (("--log-opt", "max-size=-2k"), "invalid size"),
    ],
)
def test_refusals(engine, arguments, text):
    done = engine.docker("create", *arguments, "busybox", "true", check=False)
    assert done.returncode == 1
    assert text in done.stderr.decode()
    assert engine.out("ps", "-aq") == ""


def test_a_target_that_is_not_there_is_told_at_the_start(engine):
    address = "syslog-address=tcp://127.0.0.1:9"
    done = engine.docker("run", "--log-driver", "syslog", "--log-opt", address, "busybox", "true", check=False)
    assert done.returncode == 125
    assert b"failed to initialize logging driver" in done.stderr
    if not Path("/run/systemd/journal/socket").exists():
        done = engine.docker("run", "--log-driver", "journald", "busybox", "true", check=False)
        assert b"journald is not enabled on this host" in done.stderr


class Receiver:
    """A syslog daemon on a socket of its own, which can be switched off."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, list[str]()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._thread = threading.Thread(target=self._take, args=(self._socket,))
        self._thread.start()

    def _take(self, listening: socket.socket) -> None:
        while data := listening.recv(65536):
            self.lines.append(data.decode())

    def close(self) -> None:
        """Nothing that was sent is lost."""
        if self._socket is not None and self._thread is not None:
            self.path.unlink()
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._socket.close()
            self._socket = self._thread = None

    def numbers(self) -> list[int]:
        return [int(line.rstrip("\n").rpartition(" ")[2]) for line in self.lines]


@pytest.fixture
def receiver(engine):
    subject = Receiver(engine.directory / "syslog")
    subject.open()
    yield subject
    subject.close()


def syslog(receiver, *more: str) -> tuple[str, ...]:
    options = (f"syslog-address=unixgram://{receiver.path}", *more)
    return ("--log-driver", "syslog", *(word for option in options for word in ("--log-opt", option)))


def test_syslog_gets_every_line_and_logs_shows_them_too(engine, receiver):
    options = syslog(receiver, "tag=app/{{.Name}}", "syslog-facility=local0", "syslog-format=rfc5424")
    script = "echo to out; echo to err >&2; printf tail"
    engine.docker("run", "--name", "one", *options, "busybox", "sh", "-c", script)
    wait_until(lambda: len(receiver.lines) == 3, "three messages", PATIENCE_S)
    assert sorted(line[:4] for line in receiver.lines) == ["<131", "<134", "<134"]
    assert all(" app/one " in line for line in receiver.lines)
    assert receiver.lines[-1].endswith(" tail\n")
    assert engine.docker("logs", "one").stdout == b"to out\ntail"
    cached = syslog(receiver, "cache-disabled=true")
    engine.docker("run", "--name", "two", *cached, "busybox", "true")
    assert b"does not support reading" in engine.docker("logs", "two", check=False).stderr


def test_syslog_over_a_killed_daemon_and_a_silent_target(engine, receiver):
    lines = 300
    script = f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.01; done"
    engine.docker("run", "-d", "--name", "one", *syslog(receiver, "cache-max-size=2k"), "busybox", "sh", "-c", script)
    wait_until(lambda: len(receiver.lines) > 10, "it talks", PATIENCE_S)
    engine.kill()
    time.sleep(0.5)
    engine.start()
    wait_until(lambda: len(receiver.lines) > 50, "it is heard of again", PATIENCE_S)
    receiver.close()
    time.sleep(0.5)
    receiver.open()
    wait_until(lambda: len(receiver.lines) >= lines, "all lines have arrived", PATIENCE_S)
    assert receiver.numbers() == list(range(1, lines + 1))
    ended(engine, "one")


def test_non_blocking_forgets_what_nobody_takes(engine, receiver):
    options = syslog(receiver, "mode=non-blocking", "max-buffer-size=4k")
    script = f"while [ ! -e /go ]; do sleep 0.1; done; {COUNT.format(1000, 1000)}"
    engine.docker("run", "-d", "--name", "one", *options, "busybox", "sh", "-c", script)
    receiver.close()
    engine.docker("exec", "one", "touch", "/go")
    wait_until(lambda: "line 1000" in engine.out("logs", "--tail", "1", "one"), "it has said all", PATIENCE_S)
    receiver.open()
    wait_until(lambda: receiver.lines and receiver.numbers()[-1] == 1000, "the last line arrives", PATIENCE_S)
    assert len(receiver.lines) < 200


def test_a_default_driver(engine):
    receiver = Receiver(engine.directory / "other")
    receiver.open()
    other = EngineUnderTest("--log-driver", "syslog", "--log-opt", f"syslog-address=unixgram://{receiver.path}")
    try:
        other.start()
        other.load_busybox()
        assert other.out("info", "--format", "{{.LoggingDriver}}") == "syslog"
        other.docker("run", "--rm", "busybox", "echo", "hello")
        wait_until(lambda: any(line.endswith("hello\n") for line in receiver.lines), "it arrives", PATIENCE_S)
        assert other.docker("run", "--rm", "--log-driver", "json-file", "busybox", "echo", "x").stdout == b"x\n"
        assert other.stop() == 0
    finally:
        other.close()
        receiver.close()
