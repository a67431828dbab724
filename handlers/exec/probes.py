"""Runs health probes: processes in a container of which the log hears nothing, for they are no facts by themselves."""

import logging
from typing import Protocol

import msgspec
from anyio import CancelScope, Event, create_task_group, move_on_after

from events.errors import EngineError
from events.messages import exec as m
from events.projections.containers import Container
from handlers.context import Services
from handlers.exec import specification
from handlers.exec.execs import look_inside
from handlers.exec.host_facts import HostFacts
from handlers.exec.ports import ExecPlan, Runtime, Session, StartError, Streams
from handlers.exec.processes import open_secrets, runtime_path
from handlers.exec.specification import Settings
from handlers.kernel.threads import run_foreign
from handlers.policies.health import ProbeResult

LOGGER = logging.getLogger(__name__)
OUTPUT_BYTES = 4096  # of each result, as in dockerd
_SHELL = ("/bin/sh", "-c")
_DRAIN_S = 1.0
_CLEANUP_S = 20.0


class ProbingRuntime(Runtime, Streams, Protocol):
    """Processes and their streams."""


class Probes:
    """One probe at a time for a container; the caller sees to that."""

    def __init__(self, runtime: ProbingRuntime, facts: HostFacts, settings: Settings) -> None:
        self._runtime, self._facts, self._settings = runtime, facts, settings

    async def run(self, services: Services, container: Container, timeout_ns: int) -> ProbeResult:
        """Run the container's test, or kill it when its time is up. Cancelled, it leaves no process behind."""
        started_ns = services.clock.now_ns()
        code, text = -1, ""
        try:
            code, text = await self._bounded(services, container, timeout_ns)
        except StartError as error:
            text = error.message
        except (EngineError, OSError) as error:
            text = str(error)
        except Exception as error:
            LOGGER.exception("a health probe of container %s failed", container.id)
            text = str(error)
        return ProbeResult(started_ns=started_ns, ended_ns=services.clock.now_ns(), exit_code=code, output=text)

    async def _bounded(self, services: Services, container: Container, timeout_ns: int) -> tuple[int, str]:
        exec_id = services.ids.new()
        session = await self._runtime.exec_session(exec_id)
        output = Output()
        try:
            with move_on_after(timeout_ns / 1e9):
                await self._runtime.exec(await self._plan(services, container, exec_id))
                return await self._ended(container, exec_id, session, output), output.text()
        finally:
            await self._clean(container, exec_id, session)
        words = f"Health check exceeded timeout ({_seconds(timeout_ns)})"
        return -1, f"{words}: {output.text()}" if output.text() else words

    async def _ended(self, container: Container, exec_id: str, session: Session, output: "Output") -> int:
        async with create_task_group() as reading:
            reading.start_soon(output.take_all, session)
            status = await self._runtime.wait_exec(container.id, exec_id)
            with move_on_after(_DRAIN_S):
                await output.complete.wait()
            reading.cancel_scope.cancel("the probe has ended")
        return status.exit_code

    async def _clean(self, container: Container, exec_id: str, session: Session) -> None:
        """What can't be ended now, in a frozen container say, goes with the container's run."""
        with CancelScope(shield=True), move_on_after(_CLEANUP_S):
            await session.aclose()
            try:
                await self._runtime.forget_exec(container.id, exec_id)
            except (EngineError, OSError):
                LOGGER.exception("a health probe of container %s is left behind", container.id)

    async def _plan(self, services: Services, container: Container, exec_id: str) -> ExecPlan:
        secrets = open_secrets(services, container)
        request = await run_foreign(look_inside, services, container)
        config = m.ExecConfig(attach_stdout=True, attach_stderr=True)
        command = arguments(secrets.healthcheck_test, container.config.shell)
        process = specification.exec_process(request, config, m.ExecSecrets(cmd=command), self._facts, self._settings)
        return ExecPlan(
            exec_id=exec_id,
            container_id=container.id,
            process=msgspec.json.encode(process),
            runtime=runtime_path(container.host, self._settings),
            terminal=False,
            stdin=False,
            attached=True,
            apparmor_profile=process.apparmor_profile,
        )


class Output:
    """The beginning of what a probe writes to both streams."""

    def __init__(self) -> None:
        self._taken = bytearray()
        self.complete = Event()

    async def take_all(self, session: Session) -> None:
        """Read to the end, so that nothing holds the probe up."""
        async for _, data in session.output():
            self._taken += data[: OUTPUT_BYTES + 1 - len(self._taken)]
        self.complete.set()

    def text(self) -> str:
        """As people see it; three dots for what is too much."""
        text = self._taken[:OUTPUT_BYTES].decode(errors="replace")
        return f"{text}..." if len(self._taken) > OUTPUT_BYTES else text


def arguments(test: tuple[str, ...], shell: tuple[str, ...]) -> tuple[str, ...]:
    """The command line of a test such as ("CMD-SHELL", "exit 1")."""
    kind, *words = test
    return (*(shell or _SHELL), *words) if kind == "CMD-SHELL" else tuple(words)


def _seconds(time_ns: int) -> str:
    return f"{time_ns / 1e9:g}s"
