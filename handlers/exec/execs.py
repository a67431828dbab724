"""Processes run in a container that runs (`docker exec`): prepared, run once, watched to their end."""

from pathlib import Path

import anyio
import msgspec

from events.container_lookup import find_container
from events.errors import EngineError, reason_of
from events.log import Append
from events.messages import exec as m
from events.projections.containers import Container
from events.projections.execs import Exec
from handlers.context import Context, Services
from handlers.exec import specification
from handlers.exec.errors import (
    ExecNotRunning,
    HasRun,
    IsRunning,
    NoExecCommand,
    NoSuchExec,
    NotRunning,
    Paused,
    Restarting,
    refused,
)
from handlers.exec.host_facts import HostFacts
from handlers.exec.ports import ExecPlan, LiveProcess, Runtime, StartError
from handlers.exec.processes import known, linked_variables, open_secrets, runtime_path
from handlers.exec.rootfs import read_text
from handlers.exec.specification import Request, Settings
from handlers.exec.watching import Watching
from handlers.kernel.threads import run_foreign

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # an exec has no third code for what never ran


class Execs:
    """Answers commands about execs."""

    def __init__(self, runtime: Runtime, facts: HostFacts, settings: Settings, watching: Watching) -> None:
        self._runtime, self._facts, self._settings, self._watching = runtime, facts, settings, watching

    async def create(self, context: Context, command: m.CreateExec) -> m.CreatedExec:
        """Answer CreateExec."""
        if not command.cmd:
            raise NoExecCommand
        container = find_container(context.state.containers, command.container)
        check_enterable(container, command.container)
        secrets = m.ExecSecrets(cmd=command.cmd, env=command.env)
        sealed = await context.keyring.seal(f"container/{container.id}", msgspec.json.encode(secrets))
        exec_id = context.ids.new()

        def decide() -> Append:
            now = find_container(context.state.containers, container.id)
            check_enterable(now, command.container)
            created = m.ExecCreated(
                exec_id=exec_id, container_id=now.id, run=now.run, config=command.config, secrets=sealed
            )
            return Append(stream=f"exec/{exec_id}", events=(created,), expected=0)

        await context.decide(decide, answer=m.CreatedExec(exec_id=exec_id))
        return m.CreatedExec(exec_id=exec_id)

    async def start(self, context: Context, command: m.StartExec) -> None:
        """Answer StartExec: intent, process, outcome."""
        await context.decide(lambda: self._begin(context, command.exec_id))
        found = find(context, command.exec_id)
        try:
            live = await self._run(context, found, command)
        except BaseException as error:
            await _fail(context, found, error)
            raise
        with anyio.CancelScope(shield=True):
            await context.append(f"exec/{found.id}", m.ExecStarted(exec_id=found.id, pid=live.pid), answer=None)
        self._watching.exec(context.services, found.id)

    @staticmethod
    def _begin(context: Context, exec_id: str) -> Append:
        found = find(context, exec_id)
        if found.status in ("starting", "running"):
            raise IsRunning(exec_id)
        if found.status == "exited":
            raise HasRun(exec_id)
        container = known(context, found.container_id)
        check_enterable(container, container.id)
        if container.run != found.run:
            raise NotRunning(container.id)
        event = m.ExecStartRequested(exec_id=exec_id)
        return Append(stream=f"exec/{exec_id}", events=(event,), expected=found.version)

    async def _run(self, context: Context, found: Exec, command: m.StartExec) -> LiveProcess:
        container = known(context, found.container_id)
        check_enterable(container, container.id)  # again: a pause that was faster waits for this start to be settled
        config = found.config
        if any(command.console_size):
            config = msgspec.structs.replace(config, console_size=command.console_size)
        request = await run_foreign(look_inside, context.services, container)
        secrets = msgspec.json.decode(context.keyring.open(found.secrets), type=m.ExecSecrets)
        process = specification.exec_process(request, config, secrets, self._facts, self._settings)
        plan = ExecPlan(
            exec_id=found.id,
            container_id=container.id,
            process=msgspec.json.encode(process),
            runtime=runtime_path(container.host, self._settings),
            terminal=config.tty,
            stdin=config.attach_stdin,
            attached=not command.detach,
            apparmor_profile=process.apparmor_profile,
        )
        try:
            return await self._runtime.exec(plan)
        except StartError as error:
            raise refused(error) from error

    async def resize(self, context: Context, command: m.ResizeExec) -> None:
        """Answer ResizeExec."""
        found = find(context, command.exec_id)
        if found.status != "running":
            raise ExecNotRunning(found.id)
        await self._runtime.resize(found.container_id, found.id, command.height, command.width)


def find(context: Context, exec_id: str) -> Exec:
    """By full id. Raises NoSuchExec."""
    found = context.state.execs.get(exec_id)
    if found is None:
        raise NoSuchExec(exec_id)
    return found


def check_enterable(container: Container, name: str) -> None:
    """Whether another process can be run in it; `name` is what the client called it.

    Raises NotRunning, Paused, Restarting.
    """
    if container.status == "restarting":
        raise Restarting(name)
    if not container.is_live:
        raise NotRunning(container.id)
    if container.status == "paused" or container.operation == "pause":
        raise Paused(name)


async def _fail(context: Context, found: Exec, error: BaseException) -> None:
    cause = error.__cause__
    code = NOT_FOUND if isinstance(cause, StartError) and cause.exit_code == NOT_FOUND else NOT_EXECUTABLE
    reason = reason_of(error) if isinstance(error, EngineError) else type(error).__name__
    event = m.ExecStartFailed(exec_id=found.id, exit_code=code, error=reason)
    with anyio.CancelScope(shield=True):
        await context.append(f"exec/{found.id}", event)


def look_inside(services: Services, container: Container) -> Request:
    """The container as it is now: users are looked up in what its first process sees. Blocking.

    That may be a file system that the container serves itself.
    """
    root = Path(f"/proc/{container.pid}/root")
    return Request(
        container=container,
        secrets=open_secrets(services, container),
        rootfs="",
        namespace_path="",
        mounts=(),
        passwd=read_text(root, "/etc/passwd"),
        group=read_text(root, "/etc/group"),
        linked=linked_variables(services, container),
    )
