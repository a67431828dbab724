"""NATS servers with JetStream for tests, alone or in a cluster; ended by pid, and nothing of them left afterwards."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import nats
from nats.aio.client import Client

PROGRAM = shutil.which("nats-server") or "nats-server"
ANY_PORT = -1


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
        with anyio.fail_after(30):
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
    """Ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def cluster_members(directory: Path, size: int = 3) -> Iterator[NatsServer]:
    """Members of one cluster, not started."""
    ports, routes = free_ports(size), free_ports(size)
    listed = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    for number in range(size):
        place = f"listen: 127.0.0.1:{routes[number]}, routes: [{listed}]"
        extra = f"server_name: n{number}\ncluster {{ name: test, {place} }}\n"
        yield NatsServer(directory / f"n{number}", extra=extra, port=ports[number])


@contextlib.asynccontextmanager
async def connected(*urls: str):
    """A client of its own, for looking at what arrived."""
    client = Client()
    await client.connect(list(urls), reconnect_time_wait=0, max_reconnect_attempts=-1, error_cb=_ignore)
    try:
        yield client
    finally:
        client.options["allow_reconnect"] = False
        await client.close()


async def _ignore(error: Exception) -> None:
    del error


async def stored_ids(client: Client, stream: str) -> list[str]:
    """The ids of all messages of a stream, in its order."""
    context = client.jetstream(timeout=30)
    with anyio.fail_after(60):
        while True:
            try:
                state = (await context.stream_info(stream)).state
                messages = [
                    await context.get_msg(stream, seq=sequence)
                    for sequence in range(state.first_seq, state.last_seq + 1)
                ]
                return [(message.headers or {}).get("Nats-Msg-Id", "") for message in messages]
            except (nats.errors.Error, OSError):
                await anyio.sleep(0.1)


async def _print_ids(url: str, stream: str) -> None:
    async with connected(url) as client:
        print(json.dumps(await stored_ids(client, stream)))  # noqa: T201  # for a test that can't reach the server itself


if __name__ == "__main__":
    anyio.run(_print_ids, sys.argv[1], sys.argv[2])
