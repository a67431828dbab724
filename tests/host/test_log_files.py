"""The files of an output, and how it is handed on, with real files and sockets."""

import contextlib
import os
import socket
import ssl
import struct
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from handlers.exec.drivers.forwarding import Forwarding
from handlers.exec.drivers.generations import Generations, Place
from handlers.exec.drivers.log_targets import Journal, Message, Syslog
from handlers.exec.drivers.output import Reader
from handlers.exec.log_options import LogPlan, Subject, SyslogTarget
from tests.unit.daemon.http.certificates import Authority

TIME = b"2026-11-23T17:57:12.968611831+00:00"
SUBJECT = Subject(container_id="ab" * 32, name="web", image_id="sha256:c", image_name="busybox", labels={}, env=())


def line(text: str, stream: str = "stdout", kind: str = "F") -> bytes:
    return b"%s %s %s %s\n" % (TIME, stream.encode(), kind.encode(), text.encode())


class Conmon:
    """Writes as conmon does: to what it has open, until it is told to open another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, *lines: bytes) -> None:
        os.write(self._descriptor, b"".join(lines))

    def reopen(self) -> None:
        os.close(self._descriptor)
        self._descriptor = os.open(f"{self.path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        Path(f"{self.path}.tmp").rename(self.path)

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def conmon(tmp_path):
    subject = Conmon(tmp_path / "output.log")
    yield subject
    subject.close()


@pytest.fixture
def files(conmon):
    return Generations(conmon.path)


def read_all(reader: Reader) -> bytes:
    return b"".join(iter(reader.more, b""))


def rotate(files: Generations, conmon: Conmon) -> None:
    assert files.begin_rotation()
    conmon.reopen()


def test_reading_goes_on_in_the_next_file(files, conmon):
    reader = Reader(files)
    conmon.write(line("one"))
    assert reader.begin(-1, None)
    assert read_all(reader) == line("one")
    assert files.begin_rotation()
    conmon.write(line("two"))  # it doesn't know yet
    assert read_all(reader) == line("two")
    assert files.is_rotating()
    conmon.write(line("three"))
    conmon.reopen()
    conmon.write(line("four"))
    assert not files.is_rotating()
    assert read_all(reader) == line("three") + line("four")
    assert reader.number == 2
    reader.close()


def test_a_rotation_that_was_cut_off_is_read_to_its_end(files, conmon):
    conmon.write(line("one"))
    assert files.begin_rotation()
    reader = Reader(files)
    assert reader.begin(-1, None)
    conmon.write(line("two"))
    assert read_all(reader) == line("one") + line("two")
    conmon.reopen()
    conmon.write(line("three"))
    assert read_all(reader) == line("three")
    reader.close()


def test_tails_over_several_files_and_compressed_ones(files, conmon):
    for number in range(5):
        conmon.write(line(f"{number}a"), line(f"{number}b"))
        rotate(files, conmon)
    files.tidy(9, compress=True, needed=1 << 62)
    assert all(path.suffix == ".gz" for path in files.complete().values())
    for lines in (0, 1, 3, 4, 99):
        reader = Reader(files)
        assert reader.begin(lines, None)
        every = [line(f"{number}{letter}") for number in range(5) for letter in "ab"]
        assert read_all(reader) == b"".join(every[len(every) - lines :] if lines < 10 else every)
        reader.close()


def test_what_is_too_much_goes_but_for_what_is_needed(files, conmon):
    for number in range(4):
        conmon.write(line(str(number)))
        rotate(files, conmon)
    files.tidy(1, compress=False, needed=3)
    assert list(files.complete()) == [3, 4]
    files.tidy(0, compress=False, needed=1 << 62)
    assert list(files.complete()) == [4]  # the number lives on
    assert files.complete()[4].stat().st_size == 0
    rotate(files, conmon)
    assert max(files.complete()) == 5


def test_a_reader_keeps_what_is_removed_under_it(files, conmon):
    conmon.write(line("one"))
    reader = Reader(files)
    assert reader.begin(-1, None)
    rotate(files, conmon)
    files.tidy(0, compress=False, needed=1 << 62)
    conmon.write(line("two"))
    assert read_all(reader) == line("one") + line("two")
    reader.close()


def test_positions(files, conmon):
    assert Place.unpacked(Place(7, 1234).packed()) == Place(7, 1234)
    conmon.write(line("one"))
    end = files.end()
    rotate(files, conmon)
    conmon.write(line("two"))
    reader = Reader(files)
    assert reader.open(end)
    assert read_all(reader) == line("two")
    reader.close()


# ---- handing on


class Taker:
    """A target that takes so many messages."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most, self.taken = most, list[Message]()

    def send(self, message: Message) -> None:
        if len(self.taken) >= self.most:
            raise OSError("no more")
        self.taken.append(message)

    def close(self) -> None:
        """Nothing."""

    @property
    def texts(self) -> list[str]:
        return [message.text.decode() for message in self.taken]


def test_every_line_once_over_restarts_and_rotations(files, conmon):
    taken: list[str] = []
    for number in range(6):
        conmon.write(line(f"{number}a"), line(f"{number}b"))
        if number % 2:
            rotate(files, conmon)
        taker = Taker(most=number % 3)  # as if the daemon, or the target, went away in between
        forwarding = Forwarding(files)
        try:
            forwarding.forward(taker, ended=False)
        except OSError:
            pass
        forwarding.close()
        taken += taker.texts
    taker, forwarding = Taker(), Forwarding(files)
    forwarding.forward(taker, ended=True)
    forwarding.close()
    assert taken + taker.texts == [f"{number}{letter}" for number in range(6) for letter in "ab"]


def test_pieces_of_a_line_are_put_together_also_by_another_daemon(files, conmon):
    conmon.write(line("on", kind="P"), line("err", "stderr"))
    first = Taker()
    forwarding = Forwarding(files)
    forwarding.forward(first, ended=False)
    forwarding.close()
    conmon.write(line("e"), line("rest", kind="P"))
    second = Taker()
    forwarding = Forwarding(files)
    forwarding.forward(second, ended=False)
    assert (first.texts, second.texts) == (["err"], ["one"])
    forwarding.forward(second, ended=True)
    forwarding.close()
    assert second.texts == ["one", "rest"]
    assert [message.priority for message in (*first.taken, *second.taken)] == [3, 6, 6]


def test_long_lines_come_in_pieces(files, conmon):
    conmon.write(*(line("x" * 8192, kind="P") for _ in range(3)), line("end"))
    taker, forwarding = Taker(), Forwarding(files)
    forwarding.forward(taker, ended=False)
    forwarding.close()
    assert [(len(message.text), message.is_partial) for message in taker.taken] == [(16384, True), (8195, False)]


def test_what_does_not_fit_the_buffer_is_dropped_from_its_beginning(files, conmon):
    conmon.write(*(line(f"{number:04}") for number in range(1000)))
    taker, forwarding = Taker(), Forwarding(files, buffer_bytes=10 * len(line("0000")))
    forwarding.forward(taker, ended=False)
    forwarding.close()
    assert taker.texts == [f"{number:04}" for number in range(990, 1000)]


# ---- targets


def receiver(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(path))
    server.settimeout(30)
    return server


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("", "<30>STAMP tag[PID]: hello\n"),
        ("rfc3164", "<30>STAMP HOST tag[PID]: hello\n"),
        ("rfc5424", "<30>1 2026-11-23T17:57:12Z HOST tag PID tag - hello\n"),
        ("rfc5424micro", "<30>1 2026-11-23T17:57:12.968611Z HOST tag PID tag - hello\n"),
    ],
)
def test_syslogs_formats(tmp_path, form, expected):
    local = datetime(2026, 11, 23, 17, 57, 12, tzinfo=UTC).astimezone()
    expected = expected.replace("STAMP", local.strftime("%b %d %H:%M:%S"))
    with receiver(tmp_path / "s") as server:
        target = Syslog(SyslogTarget(scheme="unixgram", path=str(tmp_path / "s"), format=form), "tag")
        target.send(Message(1, TIME[:29].decode(), b"hello"))
        target.close()
        said = server.recv(1000).decode()
    assert said == expected.replace("PID", str(os.getpid())).replace("HOST", socket.gethostname())


def on_loopback(kind: socket.SocketKind) -> socket.socket:
    server = socket.socket(socket.AF_INET, kind)
    server.bind(("127.0.0.1", 0))
    server.settimeout(30)
    return server


def test_syslog_over_udp():
    with on_loopback(socket.SOCK_DGRAM) as server:
        target = SyslogTarget(scheme="udp", host="127.0.0.1", port=server.getsockname()[1])
        syslog = Syslog(target, "tag")
        syslog.send(Message(1, TIME[:29].decode(), b"hello"))
        syslog.close()
        assert server.recv(1000).endswith(b": hello\n")


def test_syslog_over_tcp():
    with on_loopback(socket.SOCK_STREAM) as server:
        server.listen()
        target = SyslogTarget(scheme="tcp", host="127.0.0.1", port=server.getsockname()[1], format="rfc5424")
        syslog = Syslog(target, "tag")
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            for text in (b"one", b"two"):
                syslog.send(Message(1, TIME[:29].decode(), text))
            syslog.close()
            assert [line.rpartition(b" ")[2] for line in lines] == [b"one\n", b"two\n"]


def test_syslog_over_tls_counts_its_bytes(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    said: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        with context.wrap_socket(connection, server_side=True) as stream:
            said.extend(iter(lambda: stream.recv(1000), b""))

    with on_loopback(socket.SOCK_STREAM) as server:
        server.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        target = SyslogTarget(
            scheme="tcp+tls",
            host="127.0.0.1",
            port=server.getsockname()[1],
            format="rfc5424",
            ca_certificate=str(authority.path),
        )
        syslog = Syslog(target, "tag")
        syslog.send(Message(1, TIME[:29].decode(), b"hello"))
        syslog.close()
        serving.join(30)
    length, _, rest = b"".join(said).partition(b" ")
    assert (int(length), rest.endswith(b"hello\n")) == (len(rest), True)


def test_a_syslog_that_nobody_vouches_for_is_refused(tmp_path):
    certificate, key = Authority(tmp_path).issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve() -> None:
        connection, _ = server.accept()
        with contextlib.suppress(OSError), connection:
            context.wrap_socket(connection, server_side=True).close()

    with on_loopback(socket.SOCK_STREAM) as server:
        server.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        target = SyslogTarget(scheme="tcp+tls", host="127.0.0.1", port=server.getsockname()[1])
        with pytest.raises(OSError, match="certificate verify failed"):
            Syslog(target, "tag")
        serving.join(30)


def test_syslog_connects_again(tmp_path):
    target = SyslogTarget(scheme="unixgram", path=str(tmp_path / "s"), facility=23)
    with receiver(tmp_path / "s"):
        syslog = Syslog(target, "tag")
    with pytest.raises(OSError, match="refused"):
        syslog.send(Message(2, TIME[:29].decode(), b"lost"))
    (tmp_path / "s").unlink()
    with receiver(tmp_path / "s") as server:
        syslog.send(Message(2, TIME[:29].decode(), b"again"))
        assert server.recv(1000).startswith(b"<187>")
        syslog.close()


def test_the_journals_fields(tmp_path):
    plan = LogPlan(driver="journald", tag="tag", attributes={"com.example-key": "v"})
    with receiver(tmp_path / "j") as server:
        journal = Journal(tmp_path / "j", plan, SUBJECT)
        journal.send(Message(2, TIME[:29].decode(), b"two\nlines"))
        said = server.recv(65536)
        journal.close()
    assert said.startswith(b"MESSAGE\n" + struct.pack("<Q", 9) + b"two\nlines\nPRIORITY=3\n")
    for field in (
        b"CONTAINER_NAME=web\n",
        b"CONTAINER_ID=abababababab\n",
        b"COM_EXAMPLE_KEY=v\n",
        b"SYSLOG_IDENTIFIER=tag\n",
        b"SYSLOG_TIMESTAMP=2026-11-23T17:57:12.968611831Z\n",
    ):
        assert field in said


def test_a_host_without_a_journal(tmp_path):
    with pytest.raises(OSError, match="journald is not enabled on this host"):
        Journal(tmp_path / "nosuch", LogPlan(driver="journald"), SUBJECT)
