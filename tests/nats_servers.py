"""NATS servers with JetStream for tests, alone or in a cluster; ended by pid, and nothing of them left afterwards."""

import contextlib
import functools
import itertools
import json
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import nats
from nats.aio.client import Client

PROGRAM = shutil.which("nats-server") or "nats-server"
ANY_PORT = -1
ANSWER_S = 5.0  # who leads is asked anew after it
PATIENCE_S = 150.0
Found = TypeVar("Found")


class NatsServer:
    """One server; it keeps its port and what it stores over `kill` and `start`."""

    def __init__(
        self, directory: Path, *, extra: str = "", port: int = ANY_PORT, surrounded_by: Sequence[str] = ()
    ) -> None:
        """`surrounded_by` is a command that runs the server, as `nsenter` does; `ready` then can't look at the port."""
        self.directory = directory
        self._surrounded_by = surrounded_by
        self.port = port
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"nats://secret@127.0.0.1:{self.port}"

    def start(self) -> None:
        configuration = self.directory / "server.conf"
        configuration.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\nports_file_dir: "{self.directory}"\n'
            f'authorization {{ token: "secret" }}\nmax_payload: 1MB\n'
            f'jetstream {{ store_dir: "{self.directory / "store"}" }}\n{self._extra}'
        )
        for old in self.directory.glob("*.ports"):
            old.unlink()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._surrounded_by, PROGRAM, "--config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Until it listens."""
        assert self._process is not None
        path = self.directory / f"nats-server_{self._process.pid}.ports"
        with anyio.fail_after(PATIENCE_S):
            while self.port == ANY_PORT or not (self._surrounded_by or self._listens()):
                assert self._process.poll() is None, (self.directory / "log").read_text()
                with contextlib.suppress(FileNotFoundError, ValueError):
                    self.port = int(json.loads(path.read_bytes())["nats"][0].rpartition(":")[2])
                await anyio.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextlib.asynccontextmanager
async def server(directory: Path, **keywords):
    """One, running."""
    made = NatsServer(directory, **keywords)
    made.start()
    try:
        await made.ready()
        yield made
    finally:
        made.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, from below those that the kernel gives to whoever connects somewhere."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = random.sample(range(lowest // 2, lowest), 100 * count)
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def cluster_members(directory: Path, size: int = 3) -> Iterator[NatsServer]:
    """Members of one cluster, not started."""
    ports = free_ports(2 * size)
    ports, routes = ports[:size], ports[size:]
    listed = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    for number in range(size):
        place = f"listen: 127.0.0.1:{routes[number]}, routes: [{listed}]"
        extra = f"server_name: n{number}\ncluster {{ name: test, {place} }}\n"
        yield NatsServer(directory / f"n{number}", extra=extra, port=ports[number])


@contextlib.asynccontextmanager
async def connected(*urls: str):
    """A client of its own, for looking at what arrived.

    It goes with its server's connection: nats-py connects anew without closing what it had begun before, and the open
    sockets fail the run that finds them.
    """
    client = await answered(lambda: _connect(urls))
    try:
        yield client
    finally:
        await client.close()


async def _connect(urls: Sequence[str]) -> Client:
    client = Client()
    try:
        await client.connect(
            list(urls), allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, error_cb=_ignore
        )
    except BaseException:
        await client.close()
        raise
    return client


async def _ignore(error: Exception) -> None:
    del error


async def stored_ids(client: Client, stream: str) -> list[str]:
    """The ids of all messages of a stream, in its order."""
    context = client.jetstream(timeout=ANSWER_S)
    state = (await answered(lambda: context.stream_info(stream))).state
    found = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await answered(functools.partial(context.get_msg, stream, sequence))
        found.append((message.headers or {}).get("Nats-Msg-Id", ""))
    return found


async def answered(ask: Callable[[], Awaitable[Found]]) -> Found:
    """Ask until there is an answer: a cluster without a leader is silent, or says that it can't tell."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            try:
                return await ask()
            except (nats.errors.Error, OSError):
                await anyio.sleep(0.1)


async def _print_ids(url: str, stream: str) -> None:
    async with connected(url) as client:
        print(json.dumps(await stored_ids(client, stream)))  # noqa: T201  # for a test that can't reach the server itself


if __name__ == "__main__":
    anyio.run(_print_ids, sys.argv[1], sys.argv[2])
