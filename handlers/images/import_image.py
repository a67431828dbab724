"""ImportImage: a file system as a tar becomes an image of one layer."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio.from_thread
import msgspec

from events import references
from events.base import Event
from events.log import Append
from events.messages import image as m
from handlers import compression
from handlers.context import Context
from handlers.dockerfile import changes
from handlers.images import configuration, naming
from handlers.images.archive import Region
from handlers.images.content import ContentStore
from handlers.images.create import Plan, ensure_image
from handlers.images.platforms import parse_platform
from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long
from handlers.turns import Turns

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def import_image(
    context: Context, command: m.ImportImage, content: ContentStore, turns: Turns
) -> m.ImportedImage:
    """Make the image and name it. Raises InvalidParameter for a bad tar, change, name or platform."""
    config = _config(context.clock.now_ns(), command)
    names = (references.canonical(command.reference),) if command.reference else ()
    path = Path(command.path)
    plan = _plan(config, await run_long(_digest, path), path)
    answer = m.ImportedImage(image_id=plan.image_id)
    imported = m.ImageImported(image_id=plan.image_id, name=plan.image_id)

    async def conclude(made: tuple[Event, ...]) -> None:
        def decision() -> tuple[Append, ...]:
            images = context.state.images
            named = naming.give_names(images, plan.image_id, names, asked=False, made=made, conclusion=(imported,))
            return named.appends

        await naming.append_decided(context, decision, answer=lambda: answer)

    async with turns.of(plan.image_id):
        await ensure_image(context, plan, content, conclude)
    return answer


def rfc3339(time_ns: int) -> str:
    """A time as configurations have it: `2026-11-23T17:12:57.968611831Z`."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _config(time_ns: int, command: m.ImportImage) -> m.ImageConfig:
    platform = parse_platform(command.platform)
    created, comment = rfc3339(time_ns), command.message or f"Imported from {command.source}"
    return m.ImageConfig(
        created=created,
        architecture=platform.architecture,
        variant=platform.variant,
        os=platform.os,
        config=changes.apply_changes(m.RunConfig(), command.changes),
        history=(m.History(created=created, comment=comment),),
        comment=comment,
    )


def _plan(config: m.ImageConfig, diff_id: str, path: Path) -> Plan:
    config = msgspec.structs.replace(config, rootfs=m.RootFilesystem(diff_ids=(diff_id,)))
    content = configuration.encode(config)
    return Plan(
        image_id=configuration.image_id(content),
        content=content,
        config=config,
        source=path,
        layers=(Region(0, -1),),
        origin="import",
    )


def _digest(path: Path) -> str:
    with attempt(f"read {path}"):
        return compression.digest(path, check=anyio.from_thread.check_cancelled)
