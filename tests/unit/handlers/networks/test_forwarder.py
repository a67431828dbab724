"""The forwarder process on loopback: what it carries, and how it begins and ends."""

import os
import random
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from typing_extensions import override

from events.errors import SystemFailure
from events.messages.network import PublishedPort
from handlers.networks.drivers.forwarder import Forwarder
from handlers.networks.drivers.forwarding import datagrams, streams
from handlers.networks.drivers.forwarding.program import serve
from handlers.networks.drivers.ports import HostPorts
from handlers.networks.errors import PortInUse

ONE = "1" * 64
LIMIT_S = 5.0
BIG = os.urandom(1 << 20) * 8


@pytest.fixture
def exec_root() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="fwd"))  # short: paths of unix sockets have 107 characters at most
    yield directory
    shutil.rmtree(directory)  # the forwarder sees its socket gone, and ends


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody has, below those that the kernel gives by itself."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket(type=kind) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def published(host_port: int, container_port: int, protocol: str = "tcp", address: str = "127.0.0.1") -> PublishedPort:
    return PublishedPort(container_port=container_port, protocol=protocol, host_address=address, host_port=host_port)


def listener(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(type=kind)
    made.settimeout(LIMIT_S)
    made.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((address, port), timeout=LIMIT_S)


def receive_all(stream: socket.socket) -> bytes:
    received = bytearray()
    while chunk := stream.recv(1 << 20):
        received += chunk
    return bytes(received)


async def held(exec_root: Path, kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "127.0.0.1"):
    """A server that a forwarded port leads to, and the port."""
    server, port = listener(kind), free_port(kind)
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    forwarder = Forwarder(exec_root)
    await forwarder.publish(ONE, "127.0.0.1", [published(port, server.getsockname()[1], protocol, address)])
    return server, port, forwarder


async def until(holds) -> None:
    with anyio.fail_after(LIMIT_S):
        while not await holds():
            await anyio.sleep(0.01)


async def test_each_direction_ends_by_itself(exec_root):
    server, port, _ = await held(exec_root)
    with closing(server), connected(port) as client:
        upstream, _ = server.accept()
        with upstream:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert receive_all(upstream) == b"question"
            upstream.sendall(b"answer")
            upstream.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b"answer"


async def test_much_data_goes_both_ways_at_once(exec_root):
    server, port, _ = await held(exec_root)
    with closing(server), connected(port) as client:
        upstream, _ = server.accept()
        with upstream:
            for end in (client, upstream):
                threading.Thread(target=lambda e=end: (e.sendall(BIG), e.shutdown(socket.SHUT_WR)), daemon=True).start()
            there: list[bytes] = []
            reader = threading.Thread(target=lambda: there.append(receive_all(upstream)))
            reader.start()
            assert receive_all(client) == BIG
            reader.join(LIMIT_S)
            assert there == [BIG]


async def test_who_does_not_read_stops_only_itself(exec_root):
    server, port, _ = await held(exec_root)
    with closing(server), connected(port) as slow, connected(port) as quick:
        first, _ = server.accept()
        second, _ = server.accept()
        with first, second:
            first.setblocking(False)
            sent = 0
            with suppress(BlockingIOError):
                while sent < 1 << 28:
                    sent += first.send(BIG[: 1 << 16])
            assert sent < 1 << 28
            second.sendall(b"hello")
            assert quick.recv(100) == b"hello"
            slow.settimeout(LIMIT_S)
            assert slow.recv(10) == BIG[:10]


async def test_a_reset_reaches_the_other_side(exec_root):
    server, port, _ = await held(exec_root)
    with closing(server), connected(port) as client:
        upstream, _ = server.accept()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        upstream.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_nobody_behind_the_port_is_a_reset(exec_root):
    server, port, _ = await held(exec_root)
    server.close()
    with pytest.raises(ConnectionResetError), connected(port) as client:
        client.recv(1)


async def test_ipv6_leads_to_ipv4(exec_root):
    server, port, _ = await held(exec_root, address="::1")
    with closing(server), connected(port, "::1") as client:
        upstream, peer = server.accept()
        with upstream:
            client.sendall(b"six")
            assert upstream.recv(10) == b"six"
            assert peer[0] == "127.0.0.1"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
async def test_datagrams_find_their_way_back(exec_root, address):
    server, port, _ = await held(exec_root, socket.SOCK_DGRAM, address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    target = {"0.0.0.0": "127.0.0.2", "::": "::1"}.get(address, address)
    with (
        closing(server),
        socket.socket(family, socket.SOCK_DGRAM) as one,
        socket.socket(family, socket.SOCK_DGRAM) as two,
    ):
        for client, word in ((one, b"one"), (two, b"two"), (one, b"again")):
            client.settimeout(LIMIT_S)
            client.connect((target, port))  # only answers from this very address are received
            client.send(word)
            data, session = server.recvfrom(100)
            assert data == word
            server.sendto(word + b" back", session)
            assert client.recv(100) == word + b" back"


async def test_a_port_that_is_only_held_turns_people_away(exec_root):
    server, port = listener(), free_port()
    forwarder = Forwarder(exec_root, forward=False)
    await forwarder.publish(ONE, "127.0.0.1", [published(port, server.getsockname()[1])])
    with closing(server):
        with pytest.raises(ConnectionResetError), connected(port) as client:
            client.recv(1)
        with pytest.raises(PortInUse):
            await Forwarder(exec_root).publish("2" * 64, "127.0.0.1", [published(port, 1)])


async def test_a_withdrawn_port_is_closed_and_connections_go_on(exec_root):
    server, port, forwarder = await held(exec_root)
    with closing(server), connected(port) as client:
        upstream, _ = server.accept()
        with upstream:
            await forwarder.withdraw(ONE)
            with pytest.raises(ConnectionRefusedError):
                connected(port)
            client.sendall(b"still")
            assert upstream.recv(10) == b"still"


async def test_another_controller_finds_what_the_first_one_left(exec_root):
    server, port, _ = await held(exec_root)
    server.close()
    found = await Forwarder(exec_root).published()
    assert found == {ONE: (published(port, server_port(found)),)}


def server_port(found: dict[str, tuple[PublishedPort, ...]]) -> int:
    ((entry,),) = found.values()
    assert entry.container_port > 0
    return entry.container_port


async def test_the_socket_is_nobody_elses(exec_root):
    server, _, _ = await held(exec_root)
    server.close()
    assert (exec_root / "forwarder.sock").stat().st_mode & 0o777 == 0o600


async def test_garbage_on_the_socket_harms_nobody(exec_root):
    server, port, forwarder = await held(exec_root)
    for garbage in (b"garbage\n", b"[]\n", b'{"op": "publish"}\n', b'{"op": "nosuch"}\n', b"\xff\xfe\n", b"x" * 100000):
        with closing(socket.socket(socket.AF_UNIX)) as control:
            control.connect(str(exec_root / "forwarder.sock"))
            control.sendall(garbage)
            if garbage.endswith(b"\n"):
                assert b'"ok": false' in control.recv(1000)
    with closing(server), connected(port) as client:
        upstream, _ = server.accept()
        upstream.close()
        client.settimeout(LIMIT_S)
        assert client.recv(1) == b""
    assert ONE in await forwarder.published()


async def test_nothing_is_started_to_withdraw_or_to_look(exec_root):
    forwarder = Forwarder(exec_root)
    await forwarder.withdraw(ONE)
    assert await forwarder.published() == {}
    with anyio.fail_after(LIMIT_S):
        await forwarder.gone()
    assert not (exec_root / "forwarder.sock").exists()


class NotedForwarder(Forwarder):
    """Tells when another process was started, or when that has to wait."""

    def __init__(self, exec_root: Path) -> None:
        super().__init__(exec_root)
        self.settled = threading.Event()

    @override
    async def _start(self) -> None:
        if self._starting.locked():
            self.settled.set()
        await super()._start()

    @override
    def _spawn(self) -> None:
        super()._spawn()
        self.settled.set()


async def test_the_next_process_is_not_forgotten_with_the_one_that_died(exec_root, monkeypatch):
    forwarder, waitpid, first = NotedForwarder(exec_root), os.waitpid, iter([True])

    def waitpid_late(pid: int, options: int) -> tuple[int, int]:
        ended = waitpid(pid, options)
        if next(first, False):
            anyio.from_thread.run_sync(tasks.start_soon, forwarder.publish, ONE, "127.0.0.1", [])
            assert forwarder.settled.wait(LIMIT_S)
        return ended

    await forwarder.publish(ONE, "127.0.0.1", [])
    before = forwarder._pid
    os.kill(before, signal.SIGKILL)
    await anyio.to_thread.run_sync(os.waitid, os.P_PID, before, os.WEXITED | os.WNOWAIT)
    forwarder.settled.clear()
    monkeypatch.setattr(os, "waitpid", waitpid_late)
    async with anyio.create_task_group() as tasks:
        await forwarder.gone()
    assert forwarder._pid not in (0, before)


async def test_a_forwarder_that_died_is_started_again_with_all_its_ports(exec_root):
    server, port = listener(), free_port()
    forwarder = Forwarder(exec_root)
    ports = HostPorts(None, forwarder)
    with closing(server):
        async with anyio.create_task_group() as group:
            group.start_soon(ports.keep)
            await ports.publish(ONE, "127.0.0.1", [published(port, server.getsockname()[1])])
            before = forwarder._pid
            os.kill(before, signal.SIGKILL)

            async def is_back() -> bool:
                return forwarder._pid not in (0, before) and ONE in await ports.published()

            await until(is_back)
            with connected(port) as client:
                upstream, _ = server.accept()
                with upstream:
                    client.sendall(b"again")
                    assert upstream.recv(10) == b"again"
            group.cancel_scope.cancel()


async def test_a_stopped_forwarder_is_an_error_not_a_hang(exec_root, monkeypatch):
    server, _, forwarder = await held(exec_root)
    server.close()
    monkeypatch.setattr("handlers.networks.drivers.forwarder.ANSWER_LIMIT_S", 0.05)
    os.kill(forwarder._pid, signal.SIGSTOP)
    try:
        with pytest.raises(SystemFailure, match="didn't answer"):
            await forwarder.published()
    finally:
        os.kill(forwarder._pid, signal.SIGCONT)


async def served(exec_root: Path, idle_life_s: float) -> tuple[Path, threading.Thread]:
    """The program in a thread of the test."""
    path = exec_root / "control.sock"
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(path))
    control.listen()
    thread = threading.Thread(target=serve, args=(control, path, idle_life_s, 0.01), daemon=True)
    thread.start()
    return path, thread


async def ended(thread: threading.Thread) -> bool:
    await anyio.to_thread.run_sync(thread.join, LIMIT_S)
    return not thread.is_alive()


async def test_a_forwarder_that_nobody_needs_ends(exec_root):
    path, thread = await served(exec_root, 0.05)
    assert await ended(thread)
    assert not path.exists()


async def test_a_forwarder_whose_socket_is_gone_ends_whatever_it_holds(exec_root):
    path, thread = await served(exec_root, 1000)
    with closing(socket.socket(socket.AF_UNIX)) as control:
        control.connect(str(path))
        path.unlink()
        assert await ended(thread)


async def test_a_forwarder_stays_while_somebody_is_connected(exec_root):
    path, thread = await served(exec_root, 0.05)
    with closing(socket.socket(socket.AF_UNIX)) as control:
        control.connect(str(path))
        await anyio.to_thread.run_sync(thread.join, 0.2)
        assert thread.is_alive()
    assert await ended(thread)


async def test_too_many_connections_wait_and_too_many_senders_push_out_the_quietest(exec_root, monkeypatch):
    monkeypatch.setattr("handlers.networks.drivers.forwarding.program._maximum_relays", lambda: 2)
    monkeypatch.setattr(datagrams, "MAXIMUM_SESSIONS", 2)
    assert streams.ACCEPTS_AT_ONCE > 2
    path, thread = await served(exec_root, 1000)
    server, bag, stream_port, datagram_port = (
        listener(),
        listener(socket.SOCK_DGRAM),
        free_port(),
        free_port(socket.SOCK_DGRAM),
    )
    forwarder = Forwarder(exec_root)
    forwarder._path = path
    ports = [
        published(stream_port, server.getsockname()[1]),
        published(datagram_port, bag.getsockname()[1], "udp"),
    ]
    await forwarder.publish(ONE, "127.0.0.1", ports)
    with closing(server), closing(bag):
        clients = [connected(stream_port) for _ in range(3)]
        upstreams = [server.accept()[0] for _ in range(2)]
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
        for end in (clients[0], upstreams[0], clients[1], upstreams[1]):
            end.close()
        server.settimeout(LIMIT_S)
        server.accept()[0].close()
        clients[2].close()
        one, two, three = senders = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
        sources = []
        for sender in (one, two, one, three, one, two):  # two is the quietest when three comes
            sender.sendto(b"x", ("127.0.0.1", datagram_port))
            sources.append(bag.recvfrom(10)[1])
        assert sources[0] == sources[2] == sources[4]
        assert sources[5] != sources[1]
        for sender in senders:
            sender.close()
    path.unlink()
    assert await ended(thread)
