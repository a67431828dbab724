"""What a killed daemon left open: each intent is settled by what the host shows, each container in its own task."""

import logging
from collections.abc import Awaitable, Callable

import anyio
import msgspec

from events.base import Event
from events.envelope import RECOVERY, Cause
from events.errors import EngineError, SystemFailure, Unavailable, reason_of
from events.messages import container as m
from events.messages.exec import DeleteProcess, FindProcess, RemoveProcessFiles
from events.messages.image import CommittedImage, ImageCreated, ReleaseImage
from events.messages.layer import RemoveContainerLayer, UnmountContainerLayer
from events.messages.network import DisconnectSandbox, RemoveSandboxFiles
from events.messages.volume import ReleaseVolume, UnmountVolume
from events.projections.containers import Container
from handlers.containers import commit, create, exits, freeze, links, remove, start, update
from handlers.containers.access import conclude
from handlers.containers.saga import Saga
from handlers.context import SETTLING_PAUSES_S, Context, Services

LOGGER = logging.getLogger(__name__)
INTERRUPTED = "the daemon was killed before this was done"
PATIENT_TRIES = 6  # then an operation is given up, as soon as the log takes that

Step = Callable[[], Awaitable[None]]


async def settle_all(services: Services) -> None:
    """Settle every container that has something open; returns when all are: the caller bounds the wait."""
    await _destroy_ownerless_keys(services)  # first: once clients are served, a key comes before its container
    async with anyio.create_task_group() as tasks:
        for c in list(services.state.containers):
            if not c.is_at_rest:  # of ten thousand containers most are
                tasks.start_soon(_settle, services, c)


async def _destroy_ownerless_keys(services: Services) -> None:
    """A daemon killed between a removal and the destruction of its key: recovery finishes it."""
    try:
        owners = await services.keyring.owners(besides=services.state.key_owners())
    except EngineError:
        LOGGER.exception("nobody can tell which keys there are; it is tried again at the next start")
        return
    for owner in owners:
        noun, _, container_id = owner.partition("/")
        if noun == "container" and services.state.containers.get(container_id) is None:
            await _destroy_key(services, owner)


async def _destroy_key(services: Services, owner: str) -> None:
    try:
        await services.keyring.destroy(owner)
    except EngineError:
        LOGGER.exception("the key of %s could not be destroyed; it is tried again at the next start", owner)


async def _settle(services: Services, c: Container) -> None:
    """Each step for itself: a container that has ended is told so whatever became of what was to be done to it.

    Clients may be served meanwhile: only what was open when `c` was found is settled, not what they have begun since.
    """
    end = services.ids.new()
    steps: tuple[tuple[Step, str], ...] = (
        (lambda: _settle_kills(services, c), ""),
        (lambda: _settle_extractions(services, c), ""),
        (lambda: _settle_operation(services, c.id, c.operation_command), c.operation_command),
        (lambda: _settle_end(services, c.id, end), end),
        (lambda: _settle_thawed(services, c.id), ""),
        (lambda: _settle_commits(services, c), ""),
        (lambda: _settle_restart(services, c), c.restarting),
        (lambda: _settle_auto_remove(services, c.id), ""),
    )
    for step, command_id in steps:
        await _persist(services, c.id, step, command_id)


async def _persist(services: Services, container_id: str, step: Step, command_id: str) -> None:
    """Try until it is done or can't be: a log that refuses, as when its disk is full, may take it a moment later.

    `command_id` opened the operation that the step settles, if it does; it isn't left open where that can be helped.
    """
    for tries, pause_s in enumerate(SETTLING_PAUSES_S, 1):
        try:
            await step()
        except Unavailable as error:
            LOGGER.warning("container %s could not be settled yet: %s", container_id, error)
            if tries >= PATIENT_TRIES:
                await _give_up(services, container_id, command_id, reason_of(error))
        except Exception as error:
            LOGGER.exception("container %s could not be settled", container_id)
            if await _give_up(services, container_id, command_id, reason_of(error)):
                return
        else:
            return
        await anyio.sleep(pause_s)


async def _settle_operation(services: Services, container_id: str, command_id: str) -> None:
    c = _with_operation(services, container_id, command_id)
    if c is not None:
        await _SETTLERS[c.operation](_context(services, command_id), c)


def _with_operation(services: Services, container_id: str, command_id: str) -> Container | None:
    """The container, if an operation of that command is open."""
    c = services.state.containers.get(container_id)
    return c if c is not None and c.operation and c.operation_command == command_id else None


async def _settle_end(services: Services, container_id: str, command_id: str) -> None:
    """It may have ended while no daemon watched."""
    await _settle_operation(services, container_id, command_id)  # begun by a try before this one
    await exits.settle_exit(_context(services, command_id), container_id)


async def _give_up(services: Services, container_id: str, command_id: str, reason: str) -> bool:
    """An intent that can't be settled must not stay open: what runs goes on, the rest is dead and can be removed.

    Returns whether none of the command is open any more.
    """
    c = _with_operation(services, container_id, command_id)
    if c is None:
        return True
    outcome: Event = m.ContainerRemoveFailed(container_id=c.id, error=f"{INTERRUPTED}: {reason}")
    if c.operation == "stop":
        outcome = m.ContainerStopFailed(container_id=c.id, error=reason)
    elif c.operation == "update":
        outcome = m.ContainerUpdateFailed(container_id=c.id, error=reason)
    elif c.operation in ("pause", "unpause"):
        outcome = m.ContainerFreezeFailed(container_id=c.id, paused=c.operation == "unpause", error=reason)
    try:
        await conclude(_context(services, command_id), c.id, outcome, answer=SystemFailure(reason))
    except EngineError as error:
        LOGGER.warning("container %s keeps an open intent for now: %s", c.id, error)
        return False
    return True


def _fresh(services: Services) -> Context:
    """For what recovery does on its own account."""
    return _context(services, services.ids.new())


def _context(services: Services, command_id: str) -> Context:
    """Outcomes keep the command id of their intent, so that a repeat gets its answer; steps get ids of their own."""
    cause = Cause(actor=RECOVERY, command_id=command_id, correlation_id=command_id)
    return Context(services, cause, step_prefix=services.ids.new()[:12])


def _now(services: Services, c: Container) -> Container:
    """As it is now; one that is gone as it was: whoever asked something of it gets an answer."""
    return services.state.containers.get(c.id) or c


async def _settle_kills(services: Services, c: Container) -> None:
    """Nobody can tell whether a signal was sent; it is never sent again."""
    for command_id in c.kills:
        if command_id not in _now(services, c).kills:
            continue
        unknown = m.ContainerKillFailed(container_id=c.id, signal=0, error=INTERRUPTED)
        is_step = command_id in (c.operation_command, c.restarting)  # of a stop, which has an answer of its own
        answer = msgspec.UNSET if is_step else Unavailable(INTERRUPTED)
        await conclude(_context(services, command_id), c.id, unknown, answer=answer)


async def _settle_extractions(services: Services, c: Container) -> None:
    """Who unpacked ended with the daemon, and the archive is gone: what was written stays."""
    for command_id, path in c.extractions:
        if (command_id, path) not in _now(services, c).extractions:
            continue
        failed = m.ContainerExtractFailed(container_id=c.id, path=path, error=INTERRUPTED)
        await conclude(_context(services, command_id), c.id, failed, answer=Unavailable(INTERRUPTED))


async def _settle_commits(services: Services, c: Container) -> None:
    """The image handler has settled its part by now: there is an image or none. What was paused for it goes on."""
    for command_id in c.commits:
        if command_id not in _now(services, c).commits:
            continue
        context = _context(services, command_id)
        intent, image_id = await _found_commit(context, c.id)
        if intent is not None and intent.pauses:
            await commit.thaw(context, c.id)
        if intent is None or not image_id:
            failed = m.ContainerCommitFailed(container_id=c.id, error=INTERRUPTED)
            await conclude(context, c.id, failed, answer=Unavailable(INTERRUPTED))
            continue
        outcome = commit.committed(c.id, intent.reference, intent.comment, image_id)
        await conclude(context, c.id, outcome, answer=CommittedImage(image_id=image_id))


async def _found_commit(context: Context, container_id: str) -> tuple[m.ContainerCommitRequested | None, str]:
    """A commit's intent and, if it has come to that, its image; the image's events came as a step of the command."""
    command_id = context.cause.command_id
    intent, after = None, 0
    async for recorded in context.log.read_stream(f"container/{container_id}"):
        if recorded.cause.command_id == command_id and isinstance(recorded.event, m.ContainerCommitRequested):
            intent, after = recorded.event, recorded.sequence
    async for recorded in context.log.read(after, limit=0):
        is_step = recorded.cause.command_id.startswith(f"{command_id}.")
        if is_step and isinstance(recorded.event, ImageCreated):
            return intent, recorded.event.image_id
    return intent, ""


def _answer(c: Container, answer: object) -> object:
    """What concludes the open operation; a step of a restart concludes nothing."""
    return msgspec.UNSET if c.operation_command == c.restarting else answer


async def _settle_create(context: Context, c: Container) -> None:
    saga = Saga()
    commands = [
        ReleaseImage(image_id=c.image_id, container_id=c.id),
        *(
            ReleaseVolume(name=point.name, container_id=c.id, remove=point.anonymous)
            for point in c.mounts
            if point.type == "volume"
        ),
        RemoveContainerLayer(container_id=c.id),
        RemoveSandboxFiles(container_id=c.id),
        RemoveProcessFiles(container_id=c.id),
    ]
    for command in commands:
        saga.begin(command.TYPE, lambda command=command: context.send(command))  # type: ignore[misc]  # bound early
    await saga.unwind()
    await create.fail(context, c.id, c.name, saga.leftovers, SystemFailure(INTERRUPTED))


async def _settle_start(context: Context, c: Container) -> None:
    """Done if the process runs its program or has run it, else undone."""
    exited = context.state.execs.last_exit(c.id)
    found = await context.send(FindProcess(container_id=c.id))
    if found.started or (exited is not None and exited.run == c.run):
        await links.tell(context, c)
        started = m.ContainerStarted(
            container_id=c.id,
            pid=found.pid,
            started_at_ns=context.clock.now_ns(),
            apparmor_profile=found.apparmor_profile,
        )
        await conclude(context, c.id, started, answer=_answer(c, None))
        return
    saga = Saga()
    for command in (
        DisconnectSandbox(container_id=c.id),
        UnmountContainerLayer(container_id=c.id),
        *(UnmountVolume(name=point.name, container_id=c.id) for point in c.mounts if point.type == "volume"),
        DeleteProcess(container_id=c.id),
    ):
        saga.begin(command.TYPE, lambda command=command: context.send(command))  # type: ignore[misc]  # bound early
    await saga.unwind()
    await start.fail(context, c.id, saga.leftovers, SystemFailure(INTERRUPTED), *_scheduled_again(context, c))


def _scheduled_again(context: Context, c: Container) -> tuple[Event, ...]:
    """A restart policy's start that was cut off isn't one of the tries that it has."""
    if c.status != "restarting" or c.restarting:
        return ()
    now_ns = context.clock.now_ns()
    again = m.ContainerRestartScheduled(
        container_id=c.id, run=c.run, attempt=c.restart_count, delay_ms=c.restart_delay_ms, due_ns=now_ns
    )
    return (again,)


async def _settle_stop(context: Context, c: Container) -> None:
    """If the process has ended the stop is done; else it runs on."""
    exited = context.state.execs.last_exit(c.id)
    if exited is not None and exited.run == c.run:
        await exits.settle_exit(_fresh(context.services), c.id)
        await conclude(context, c.id, m.ContainerStopped(container_id=c.id), answer=_answer(c, None))
        return
    failed = m.ContainerStopFailed(container_id=c.id, error=INTERRUPTED)
    await conclude(context, c.id, failed, answer=_answer(c, Unavailable(INTERRUPTED)))


async def _settle_exit(context: Context, c: Container) -> None:
    await exits.finish_exit(context, c.id, answer=None)


async def _settle_pause(context: Context, c: Container) -> None:
    found = await context.send(FindProcess(container_id=c.id))
    if found.frozen:
        await conclude(context, c.id, m.ContainerPaused(container_id=c.id), answer=None)
        return
    failed = m.ContainerFreezeFailed(container_id=c.id, paused=False, error=INTERRUPTED)
    await conclude(context, c.id, failed, answer=Unavailable(INTERRUPTED))


async def _settle_unpause(context: Context, c: Container) -> None:
    """Done now if it wasn't: a signal may be waiting for it, whose command has its answer."""
    if (await context.send(FindProcess(container_id=c.id))).frozen:
        await freeze.thaw(context, c.id, answer=None)
    else:
        await conclude(context, c.id, m.ContainerUnpaused(container_id=c.id), answer=None)


async def _settle_update(context: Context, c: Container) -> None:
    """Done again: it is the same whether it was done or not."""
    await update.carry_out(context, c.id)


async def _settle_thawed(services: Services, container_id: str) -> None:
    """A stop or a removal that was cut off may have thawed it on its way."""
    c = services.state.containers.get(container_id)
    if c is None or c.status != "paused":
        return
    found = await _fresh(services).send(FindProcess(container_id=container_id))
    if found.pid and not found.frozen:
        await conclude(_fresh(services), container_id, m.ContainerUnpaused(container_id=container_id))


async def _settle_remove(context: Context, c: Container) -> None:
    """The removal may have killed its process, and nobody saw the end, or only began to settle it."""
    if c.is_live and c.observed_run == c.run:
        await exits.finish_exit(_fresh(context.services), c.id, answer=None)
    else:
        await exits.settle_exit(_fresh(context.services), c.id)
    await remove.carry_out(context, c.id, volumes=c.remove_volumes)


async def _settle_restart(services: Services, found: Container) -> None:
    """Stopped and not yet started: started now. What still is in the run that was to end was not stopped."""
    c = services.state.containers.get(found.id)
    if c is None or not c.restarting or c.restarting != found.restarting:
        return
    await _settle_operation(services, c.id, c.restarting)  # a start that a try before this one began
    context = _context(services, c.restarting)
    c = _now(services, c)
    if c.is_live and c.run == c.restarted_run:
        failed = m.ContainerRestartFailed(container_id=c.id, error=INTERRUPTED)
        await conclude(context, c.id, failed, answer=Unavailable(INTERRUPTED))
        return
    try:
        if not c.is_live:
            await start.start(context, c.id, answer=msgspec.UNSET)
    except EngineError as error:
        failed = m.ContainerRestartFailed(container_id=c.id, error=reason_of(error))
        await conclude(context, c.id, failed, answer=error)
        return
    await conclude(context, c.id, m.ContainerRestarted(container_id=c.id), answer=None)


async def _settle_auto_remove(services: Services, container_id: str) -> None:
    """What was run with `--rm` and has come to its end, also when its removal failed before."""
    c = services.state.containers.get(container_id)
    if c is not None and not c.operation and c.removes_itself:
        await _fresh(services).send(m.RemoveContainer(container=container_id, volumes=True))


_SETTLERS = {
    "create": _settle_create,
    "start": _settle_start,
    "stop": _settle_stop,
    "exit": _settle_exit,
    "pause": _settle_pause,
    "unpause": _settle_unpause,
    "update": _settle_update,
    "remove": _settle_remove,
}
