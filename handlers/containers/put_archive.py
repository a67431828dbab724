"""Putting files into a container, running or not: the archive lies in a file, the layer handler unpacks it."""

from pathlib import Path

from anyio.to_thread import run_sync

from events.errors import NotFound, reason_of
from events.messages import container as m
from events.messages.layer import ExtractIntoContainer
from handlers.containers import decide
from handlers.containers.access import conclude, enter
from handlers.containers.errors import NoSuchFile
from handlers.containers.view import view_mounts
from handlers.context import Context
from handlers.kernel.calls import attempt


async def put_archive(context: Context, command: m.PutArchive) -> None:
    """Answer PutArchive. What fails in the middle leaves the files that were there before it, as with Docker."""
    with attempt("read the archive"):
        size_bytes = (await run_sync(Path(command.archive).stat)).st_size
    c = await enter(context, command.container, "extract", lambda c: decide.extract(c, command.path, size_bytes))
    try:
        await context.send(
            ExtractIntoContainer(
                container_id=c.id,
                mounts=view_mounts(context.state, c),
                writable=not c.host.readonly_rootfs,
                path=command.archive,
                directory=command.path,
                no_overwrite_dir_non_dir=command.no_overwrite_dir_non_dir,
                owner=c.config.user if command.copy_uid_gid else "",
            )
        )
    except BaseException as error:
        missing = NoSuchFile(command.path, command.container) if isinstance(error, NotFound) else None
        reason = reason_of(missing or error)
        failed = m.ContainerExtractFailed(container_id=c.id, path=command.path, error=reason)
        await conclude(context, c.id, failed)
        if missing is not None:
            raise missing from error
        raise
    await conclude(context, c.id, m.ContainerExtracted(container_id=c.id, path=command.path), answer=None)
