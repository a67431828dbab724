"""The OCI runtime's own commands (runc, crun ...), and the short cuts that runc allows.

Command line: https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md
"""

import os
from pathlib import Path

import anyio
import msgspec

from events.errors import SystemFailure
from handlers.exec.drivers.layout import Layout
from handlers.kernel import processes
from handlers.kernel.pidfd import ProcessHandle
from handlers.kernel.readiness import wait_any

COMMAND_TIMEOUT_S = 30.0
_START_TIMEOUT_S = 10.0
_VERSION_TIMEOUT_S = 5.0


class _State(msgspec.Struct, frozen=True, kw_only=True):
    status: str = ""


class _Features(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """https://github.com/opencontainers/runtime-spec/blob/v1.1.0/features.md."""

    mount_options: tuple[str, ...] = ()


class OciRuntime:
    """Runs a runtime by path, each with a state directory of its own."""

    def __init__(self, layout: Layout, *, systemd_cgroup: bool) -> None:
        self._layout = layout
        self._flags = ("--systemd-cgroup",) if systemd_cgroup else ()
        self._asking = anyio.Lock()  # at boot hundreds of containers want to know the same
        self._runc: dict[str, bool] = {}
        self._features: dict[str, _Features] = {}

    def global_arguments(self, runtime: str) -> tuple[str, ...]:
        """Arguments before the verb."""
        return ("--root", str(self._layout.runtime_root(runtime)), *self._flags)

    async def is_runc(self, runtime: str) -> bool:
        """Whether a program is runc, whatever it is called; asked once."""
        async with self._asking:
            if runtime not in self._runc:
                completed = await processes.run([runtime, "--version"], timeout_s=_VERSION_TIMEOUT_S)
                self._runc[runtime] = completed.output.startswith("runc version")
        return self._runc[runtime]

    async def understands(self, runtime: str, mount_option: str) -> bool:
        """Whether its features, asked for once, name a mount option; a program without the verb has none."""
        async with self._asking:
            if runtime not in self._features:
                completed = await processes.run([runtime, "features"], timeout_s=_VERSION_TIMEOUT_S)
                try:
                    self._features[runtime] = msgspec.json.decode(completed.output, type=_Features)
                except msgspec.MsgspecError:
                    self._features[runtime] = _Features()
        return mount_option in self._features[runtime].mount_options

    async def start(self, runtime: str, container_id: str, process: ProcessHandle) -> None:
        """Let a created container run. Raises SystemFailure."""
        if await self.is_runc(runtime):
            await self._open_gate(runtime, container_id, process)
        else:
            await self._checked(runtime, "start", container_id)

    async def is_started(self, runtime: str, container_id: str) -> bool:
        """Whether a live container runs its program, or still waits for its start."""
        if await self.is_runc(runtime):
            return not self._gate(runtime, container_id).exists()
        completed = await self._run(runtime, "state", container_id)
        try:
            return msgspec.json.decode(completed.output, type=_State).status in ("running", "paused")
        except msgspec.DecodeError:
            return False

    async def delete(self, runtime: str, container_id: str) -> None:
        """Remove the runtime's state, cgroup included; absent is fine. Raises SystemFailure."""
        await self._checked(runtime, "delete", "--force", container_id)

    async def update(self, runtime: str, container_id: str, resources: bytes) -> None:
        """Set the limits of a live container. Raises SystemFailure."""
        with processes.memory_file("resources") as file:
            file.write(resources)
            file.seek(0)
            await self._checked(
                runtime, "update", "--resources", f"/proc/{os.getpid()}/fd/{file.fileno()}", container_id
            )

    def state_directory(self, runtime: str, container_id: str) -> Path:
        """Where runc and crun keep what they know of a container."""
        return self._layout.runtime_root(runtime) / container_id

    def _gate(self, runtime: str, container_id: str) -> Path:
        return self.state_directory(runtime, container_id) / "exec.fifo"

    async def _open_gate(self, runtime: str, container_id: str, process: ProcessHandle) -> None:
        """runc's init waits until somebody reads the byte it writes: the same that `runc start` does, in 0.1 ms."""
        gate = self._gate(runtime, container_id)
        try:
            descriptor = os.open(gate, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SystemFailure(f"cannot start container {container_id}: it is not waiting for its start") from error
        try:
            ready = await wait_any((descriptor, process.fileno()), _START_TIMEOUT_S)
            if descriptor not in ready or os.read(descriptor, 1) != b"0":
                reason = "its process has ended" if ready else f"no answer within {_START_TIMEOUT_S:g} s"
                raise SystemFailure(f"cannot start container {container_id}: {reason}")
        finally:
            os.close(descriptor)
        gate.unlink(missing_ok=True)

    async def _checked(self, runtime: str, *arguments: str) -> None:
        completed = await self._run(runtime, *arguments)
        if completed.code != 0:
            what, code = f"{Path(runtime).name} {' '.join(arguments)}", f"exit {completed.code}"
            raise SystemFailure(f"{what}: {completed.output.strip()} ({code})", recorded=f"{what}: {code}")

    async def _run(self, runtime: str, *arguments: str) -> processes.Completed:
        return await processes.run([runtime, *self.global_arguments(runtime), *arguments], timeout_s=COMMAND_TIMEOUT_S)
