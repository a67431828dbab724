"""The private nats-server: started as a child, found again by its reader, ended with the daemon or by its successor."""

import json
import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc

from events.errors import Unavailable

LOGGER = logging.getLogger(__name__)
ANY_PORT = -1
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
RESTART_PAUSE_S = 0.05
RESTART_PAUSE_LIMIT_S = 5.0
MAXIMUM_PAYLOAD = "8MB"
_FRUGAL = {"GOGC": "25"}  # collects when a quarter was added, not as much again: little of it lives long


class BusServer:
    """Runs nats-server on a loopback port that the kernel chooses, with a credential that only root can read.

    `directory` is private to the daemon (0700). The port is kept over restarts: clients reconnect by themselves.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self._configuration = directory / "nats-server.conf"
        self._port = ANY_PORT
        self._process: anyio.abc.Process | None = None
        self.token = secrets.token_hex(32)

    @property
    def url(self) -> str:
        """Where clients connect; valid after `start`."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the running server; 0 without one."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """End what a killed predecessor left, then start and wait until the port is known.

        Raises Unavailable when it doesn't come up.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end_predecessor()
        await self._launch(ANY_PORT)

    async def supervise(self, moved: Callable[[str], None]) -> None:
        """Start it again whenever it ends, until cancelled; pauses grow while it keeps failing.

        `moved` is told the new address when the old port was taken by somebody else meanwhile.
        """
        pause_s = RESTART_PAUSE_S
        while self._process is not None:
            began, before = anyio.current_time(), self.url
            code = await self._process.wait()
            LOGGER.warning("nats-server ended with status %s: starting it again", code)
            pause_s = RESTART_PAUSE_S if anyio.current_time() - began > 1 else min(2 * pause_s, RESTART_PAUSE_LIMIT_S)
            await anyio.sleep(pause_s)
            await self._launch_again()
            if self.url != before:
                moved(self.url)

    async def _launch_again(self) -> None:
        """On the port that clients know, or on any."""
        for port in (self._port, ANY_PORT):
            try:
                await self._launch(port)
            except (Unavailable, OSError) as error:
                LOGGER.error("nats-server can't be started again: %s", error)  # noqa: TRY400 - the text says it all
            else:
                return

    async def stop(self) -> None:
        """End it, by force if it doesn't in time."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        with anyio.move_on_after(STOP_TIMEOUT_S, shield=True):
            await process.wait()
            return
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.wait()

    async def _launch(self, port: int) -> None:
        """Raises Unavailable, with nothing left running."""
        for path in self._directory.glob("*.ports"):
            path.unlink(missing_ok=True)
        self._write_configuration(port)
        command = [self._program, "--config", str(self._configuration)]
        process = self._process = await anyio.open_process(
            command,
            stdin=None,
            stdout=None,
            stderr=None,
            start_new_session=True,
            cwd=self._directory,
            env={**os.environ, **_FRUGAL},
        )
        try:
            with anyio.fail_after(START_TIMEOUT_S):
                self._port = await self._announced_port(process)
        except BaseException as error:
            with anyio.CancelScope(shield=True), suppress(ProcessLookupError):
                process.kill()
                await process.wait()
            if isinstance(error, TimeoutError):
                raise self._not_started() from error
            raise

    async def _announced_port(self, process: anyio.abc.Process) -> int:
        while process.returncode is None:
            port = self._read_port(process.pid)
            if port is not None:
                return port
            await anyio.sleep(0.001)
        raise self._not_started()

    def _not_started(self) -> Unavailable:
        return Unavailable(f"nats-server ({self._program}) did not start; see {self._directory / 'nats-server.log'}")

    def _read_port(self, pid: int) -> int | None:
        path = self._directory / f"nats-server_{pid}.ports"
        try:
            urls = json.loads(path.read_bytes())["nats"]
        except (FileNotFoundError, ValueError):
            return None
        return int(urls[0].rpartition(":")[2])

    def _write_configuration(self, port: int) -> None:
        """The credential goes into a file of our own, never into arguments or the environment."""
        text = (
            f'host: "127.0.0.1"\nport: {port}\nports_file_dir: "{self._directory}"\n'
            f'authorization {{ token: "{self.token}" }}\nmax_payload: {MAXIMUM_PAYLOAD}\n'
            f'log_file: "{self._directory / "nats-server.log"}"\nlogfile_size_limit: 1MB\n'
        )
        temporary = self._configuration.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.rename(self._configuration)

    def _end_predecessor(self) -> None:
        """A killed daemon leaves its server: known by its port file, and by our configuration in its arguments."""
        for path in self._directory.glob("nats-server_*.ports"):
            pid = int(path.stem.rpartition("_")[2])
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
                continue
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if os.fsencode(self._configuration) in arguments:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass
            finally:
                os.close(descriptor)
            path.unlink(missing_ok=True)
