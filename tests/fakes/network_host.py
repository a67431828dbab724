"""A machine of its own for network tests: a fresh namespace acts as the host, another as the world outside.

While `machine` is entered the test's thread, and all threads and processes that it starts, are on that machine.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from handlers.instance import Instance
from handlers.kernel.namespaces import PinnedNamespaces, enter, inside, leave_host, pin_new, raise_loopback, unpin

HOST_ADDRESS, OUTSIDE_ADDRESS = "198.51.100.1", "198.51.100.2"
HOST_ADDRESS6, OUTSIDE_ADDRESS6 = "2001:db8::1", "2001:db8::2"
LIMIT_S = 3.0
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


class Machine:
    """Where everything is; `outside` is the path of the other namespace."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.instance = Instance(
            name=f"t{secrets.token_hex(4)}", data_root=directory / "data", exec_root=directory / "run"
        )
        self.namespaces = PinnedNamespaces(self.instance.exec_root / "netns")
        self.outside = str(directory / "outside")


def run(*command: str, namespace: str = "") -> str:
    """Run a program on the machine or in a namespace; its output."""
    entered = ("nsenter", f"--net={namespace}") if namespace else ()
    done = subprocess.run((*entered, *command), capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def machine() -> Iterator[Machine]:
    """Be on a new machine; at the end everything of it is gone."""
    directory = Path(tempfile.mkdtemp(prefix="net"))  # short: paths of unix sockets have 107 characters at most
    made = Machine(directory)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        leave_host()
        raise_loopback()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        pin_new(Path(made.outside))
        _wire(made.outside)
        yield made
    finally:
        enter(own)
        os.close(own)
        _clean(made)


def _wire(outside: str) -> None:
    run("ip", "link", "add", "ext0", "type", "veth", "peer", "name", "eth0", "netns", outside)
    Path("/proc/sys/net/ipv6/conf/ext0/disable_ipv6").write_text("0")
    inside(outside, lambda: Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("0"))
    batch = "addr add {}/24 dev {dev}\naddr add {}/64 dev {dev} nodad\nlink set {dev} up\n"
    for where, addresses, device in (
        ("", (HOST_ADDRESS, HOST_ADDRESS6), "ext0"),
        (outside, (OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6), "eth0"),
    ):
        entered = ("nsenter", f"--net={where}") if where else ()
        text = batch.format(*addresses, dev=device)
        subprocess.run((*entered, "ip", "-batch", "-"), input=text, text=True, check=True, timeout=10)


def _clean(made: Machine) -> None:
    pins = made.instance.exec_root / "netns"
    for path in [Path(made.outside), *(pins.iterdir() if pins.is_dir() else ())]:
        unpin(path)
    if pins.is_dir():
        unpin_directory(pins)
    shutil.rmtree(made.directory)  # a forwarder that is left sees its socket gone, and ends


def unpin_directory(directory: Path) -> None:
    """Undo what `share` did."""
    with suppress(subprocess.CalledProcessError):
        subprocess.run(("umount", str(directory)), check=True, capture_output=True, timeout=10)


class Echo:
    """Answers every connection or datagram with `<client's address> <what was sent>`, until closed."""

    def __init__(
        self, namespace: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, address: str = ""
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = _in(namespace, lambda: socket.socket(family, kind))
        self._socket.bind((address, port))
        self.port: int = self._socket.getsockname()[1]
        if kind == STREAM:
            self._socket.listen()
        serve = self._streams if kind == STREAM else self._datagrams
        self.heard: list[bytes] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()

    @property
    def served(self) -> int:
        """How many have asked."""
        return len(self.heard)

    def client(self, namespace: str) -> socket.socket:
        """A socket of the same kind in a namespace."""
        made = _in(namespace, lambda: socket.socket(self._socket.family, self._socket.type))
        made.settimeout(LIMIT_S)
        return made

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT_S)
        self._socket.close()

    def _streams(self) -> None:
        with suppress(OSError), ExitStack() as open_ends:
            while not self._closed.is_set():
                stream, peer = self._socket.accept()
                open_ends.enter_context(stream)
                stream.settimeout(LIMIT_S)
                self.heard.append(stream.recv(1024))
                stream.sendall(peer[0].encode() + b" " + self.heard[-1])
                stream.shutdown(socket.SHUT_WR)

    def _datagrams(self) -> None:
        self._socket.settimeout(0.1)
        while not self._closed.is_set():
            with suppress(OSError):
                data, peer = self._socket.recvfrom(1024)
                self.heard.append(data)
                self._socket.sendto(peer[0].encode() + b" " + data, peer)


def ask(
    namespace: str, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, limit_s: float = LIMIT_S
) -> str:
    """Send `ping` from a namespace ("" is the host) and return the answer. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _in(namespace, lambda: socket.socket(family, kind)) as client:
        client.settimeout(limit_s)
        client.connect((address, port))
        client.sendall(b"ping")
        return client.recv(1024).decode()


def _in(namespace: str, function: Callable[[], socket.socket]) -> socket.socket:
    return inside(namespace, function) if namespace else function()
