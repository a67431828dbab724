"""The build handler: BuildImage, and recovery of builds that a killed daemon left."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
from anyio.to_thread import run_sync

from events.base import Command
from events.errors import reason_of
from events.messages import build as m
from handlers.build.context import Prepared, prepare
from handlers.build.errors import BuildAbandoned
from handlers.build.plan import Plan, plan
from handlers.build.ports import Outputs, Web
from handlers.build.recovery import reconcile
from handlers.build.run import Build
from handlers.build.telling import Telling
from handlers.build.workshop import Means
from handlers.context import Context, Handle
from handlers.kernel.calls import attempt
from handlers.progress import Progress


class BuildHandler:
    """Images by Dockerfiles. `scratch` has a directory for each build while it goes on."""

    def __init__(self, outputs: Outputs, web: Web, scratch: Path, *, progress: Progress) -> None:
        self._outputs, self._web = outputs, web
        self._scratch, self._progress = scratch, progress

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """See `Handler.commands`."""
        return {m.BuildImage: self._build}

    async def reconcile(self, context: Context) -> None:
        """See `Handler.reconcile`."""
        await reconcile(context)

    async def _build(self, context: Context, command: m.BuildImage) -> m.BuiltImage:
        """Raises InvalidParameter before anything is done, what its steps raise, and BuildAbandoned."""
        build_id = context.ids.new()
        directory = self._scratch / f"build-{build_id}"
        with self._progress.watched(context.cause.command_id) as scope:
            try:
                with attempt("make a directory for a build"):
                    await run_sync(lambda: directory.mkdir(mode=0o700, parents=True))
                prepared = await prepare(command, directory, self._web, context.clock.now_ns())
                wanted = plan(prepared.dockerfile, command.target, command.labels)
                return await self._carry_out(context, command, build_id, Work(prepared, wanted, directory))
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))
        if scope.cancelled_caught:
            raise BuildAbandoned
        raise AssertionError("unreachable")

    async def _carry_out(self, context: Context, command: m.BuildImage, build_id: str, work: "Work") -> m.BuiltImage:
        """Intent, steps, outcome."""
        telling = self._telling(context, command)
        means = Means(outputs=self._outputs, web=self._web, telling=telling, directory=work.directory)
        build = Build(context, command, work.plan, work.prepared.tree, means)
        with anyio.CancelScope(shield=True):
            await context.append(stream(build_id), requested(build_id, command))
        telling.interrupted(work.prepared.dockerfile.interrupted)
        try:
            image_id = await build.run()
        except BaseException as error:
            telling.failed()
            if command.force_removes or not isinstance(error, Exception):
                await build.containers.remove_all()
            reason = reason_of(error if isinstance(error, Exception) else BuildAbandoned())
            with anyio.CancelScope(shield=True):
                await context.append(stream(build_id), m.BuildFailed(build_id=build_id, error=reason))
            raise
        answer = m.BuiltImage(image_id=image_id)
        with anyio.CancelScope(shield=True):
            await context.append(
                stream(build_id), m.BuildSucceeded(build_id=build_id, image_id=image_id), answer=answer
            )
        return answer

    def _telling(self, context: Context, command: m.BuildImage) -> Telling:
        command_id = context.cause.command_id
        return Telling(
            lambda line: self._progress.tell(command_id, line),
            lambda: self._progress.caught_up(command_id),
            is_quiet=command.is_quiet,
        )


class Work:
    """What there is to do, and where."""

    def __init__(self, prepared: Prepared, wanted: Plan, directory: Path) -> None:
        self.prepared, self.plan, self.directory = prepared, wanted, directory


def stream(build_id: str) -> str:
    """The stream of a build."""
    return f"build/{build_id}"


def requested(build_id: str, command: m.BuildImage) -> m.BuildRequested:
    """The intent, which says nothing that may be secret."""
    return m.BuildRequested(
        build_id=build_id,
        tags=command.tags,
        dockerfile=command.dockerfile,
        target=command.target,
        remote=_without_user(command.remote),
    )


def _without_user(remote: str) -> str:
    """An address without a user, a password and a query."""
    try:
        parts = urlsplit(remote)
    except ValueError:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
