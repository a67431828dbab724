"""Committing: what a container has become is an image; its files are read while its processes stand still."""

from contextlib import suppress

import anyio
import msgspec

from events.errors import Conflict, NotFound, SystemFailure, reason_of
from events.messages import container as m
from events.messages.image import CommitImage, CommittedImage, RunConfig
from events.messages.layer import ArchiveChanges, ArchivedChanges
from events.projections.containers import Container
from events.references import familiar
from handlers.containers import decide
from handlers.containers.access import conclude, enter
from handlers.context import Context

THAW_LIMIT_S = 120.0


async def commit(context: Context, command: m.CommitContainer) -> CommittedImage:
    """Answer CommitContainer. Raises InvalidParameter for what can't be changed so, Conflict for a dead container."""
    c = await enter(
        context,
        command.container,
        "commit",
        lambda c: decide.commit(c, command.reference, command.comment, pause=command.pause),
    )
    try:
        changes = await _read(context, c, command.path, pauses=command.pause and c.status == "running")
        made = await context.send(_command(context, c, command, changes))
    except BaseException as error:
        await conclude(context, c.id, m.ContainerCommitFailed(container_id=c.id, error=reason_of(error)))
        raise
    await conclude(context, c.id, committed(c.id, command.reference, command.comment, made.image_id), answer=made)
    return made


def committed(container_id: str, reference: str, comment: str, image_id: str) -> m.ContainerCommitted:
    """The outcome of a commit that worked."""
    shown = familiar(reference) if reference else ""
    return m.ContainerCommitted(container_id=container_id, image_id=image_id, reference=shown, comment=comment)


async def _read(context: Context, c: Container, path: str, *, pauses: bool) -> ArchivedChanges:
    """Its changes as a tar. What ends meanwhile needs no thaw, and what somebody else has thawed stays so."""
    if not pauses:
        return await context.send(ArchiveChanges(container_id=c.id, path=path))
    with suppress(Conflict):  # it has ended, or somebody has paused it
        await context.send(m.PauseContainer(container=c.id))
    try:
        return await context.send(ArchiveChanges(container_id=c.id, path=path))
    finally:
        await thaw(context, c.id)


async def thaw(context: Context, container_id: str) -> None:
    """Let it go on. Not paused any more is fine."""
    with anyio.move_on_after(THAW_LIMIT_S, shield=True), suppress(Conflict, NotFound, SystemFailure):
        await context.send(m.UnpauseContainer(container=container_id))


def _command(context: Context, c: Container, command: m.CommitContainer, changes: ArchivedChanges) -> CommitImage:
    own = run_config(c.config, open_secrets(context, c))
    return CommitImage(
        parent=c.image_id,
        path=command.path,
        diff_id=changes.diff_id,
        size_bytes=changes.size_bytes,
        container_id=c.id,
        container_image=c.image_reference,
        container=own,
        config=own if command.config is None else command.config,
        changes=command.changes,
        author=command.author,
        comment=command.comment,
        reference=command.reference,
    )


def open_secrets(context: Context, c: Container) -> m.ContainerSecrets:
    """What of its configuration is sealed. Raises KeyDestroyed."""
    return msgspec.json.decode(context.keyring.open(c.secrets), type=m.ContainerSecrets)


def stated_config(config: m.ContainerConfig) -> RunConfig:
    """An image's configuration as a client states it."""
    check = config.healthcheck
    stated = m.ContainerSecrets(
        env=config.env, cmd=config.cmd, entrypoint=config.entrypoint, healthcheck_test=check.test if check else ()
    )
    return run_config(config, stated)


def run_config(config: m.ContainerConfig, secrets: m.ContainerSecrets) -> RunConfig:
    """A container's configuration as an image's."""
    check = config.healthcheck
    return RunConfig(
        user=config.user,
        exposed_ports=config.exposed_ports,
        env=secrets.env,
        entrypoint=secrets.entrypoint or (),
        cmd=secrets.cmd,
        volumes=config.volumes,
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=config.stop_signal,
        healthcheck=msgspec.structs.replace(check, test=secrets.healthcheck_test) if check else None,
        shell=config.shell,
        on_build=config.on_build,
    )
