"""CommitImage and AssembleImage: another image and what a container has changed become an image.

What Docker merges, and how: moby, daemon/commit.go.
"""

from pathlib import Path

import msgspec

from events import references
from events.base import Event
from events.log import Append
from events.lookup import NoSuchImage
from events.messages import image as m
from events.opened import open_image
from events.projections.images import Image
from handlers.context import Context
from handlers.dockerfile import changes
from handlers.images import configuration, naming
from handlers.images.archive import Region
from handlers.images.content import ContentStore
from handlers.images.create import Plan, ensure_image
from handlers.images.import_image import rfc3339
from handlers.images.platforms import host_platform
from handlers.turns import Turns

_EMPTY_TAR = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"  # two blocks of zeros
replace = msgspec.structs.replace


async def commit_image(
    context: Context, command: m.CommitImage, content: ContentStore, turns: Turns
) -> m.CommittedImage:
    """Make the image and name it. Raises InvalidParameter for a change that can't be, NoSuchImage."""
    parent = context.state.images.get(command.parent)
    if parent is None:
        raise NoSuchImage(command.parent)
    plan = _plan(command, open_image(parent, context.keyring), rfc3339(context.clock.now_ns()))
    names = (references.canonical(command.reference),) if command.reference else ()
    answer = m.CommittedImage(image_id=plan.image_id)
    committed = m.ImageCommitted(
        image_id=plan.image_id, container_id=command.container_id, container_image=command.container_image
    )

    async def conclude(made: tuple[Event, ...]) -> None:
        def decision() -> tuple[Append, ...]:
            images = context.state.images
            named = naming.give_names(images, plan.image_id, names, asked=True, made=made, conclusion=(committed,))
            return named.appends

        await naming.append_decided(context, decision, answer=lambda: answer)

    async with turns.of(plan.image_id):
        await ensure_image(context, plan, content, conclude)
    return answer


async def assemble_image(
    context: Context, command: m.AssembleImage, content: ContentStore, turns: Turns
) -> m.CommittedImage:
    """Make the image of a build's step. Raises NoSuchImage."""
    parent = context.state.images.get(command.parent) if command.parent else None
    if parent is None and command.parent:
        raise NoSuchImage(command.parent)
    below = open_image(parent, context.keyring).config if parent else _nothing()
    plan = _step(command, below, command.created or rfc3339(context.clock.now_ns()))
    answer = m.CommittedImage(image_id=plan.image_id)

    async def conclude(made: tuple[Event, ...]) -> None:
        if made:
            await context.append(naming.stream(plan.image_id), *made, answer=answer)

    async with turns.of(plan.image_id):
        await ensure_image(context, plan, content, conclude)
    return answer


def _nothing() -> m.ImageConfig:
    host = host_platform()
    return m.ImageConfig(architecture=host.architecture, variant=host.variant, os=host.os)


def _step(command: m.AssembleImage, below: m.ImageConfig, created: str) -> Plan:
    is_empty = command.diff_id in ("", _EMPTY_TAR)
    diff_ids = below.rootfs.diff_ids
    history = m.History(created=created, created_by=command.created_by, author=command.author, empty_layer=is_empty)
    config = replace(
        below,
        created=created,
        author=command.author,
        config=command.config,
        rootfs=m.RootFilesystem(diff_ids=diff_ids if is_empty else (*diff_ids, command.diff_id)),
        history=(*below.history, history),
        comment="",
        container=command.container_id,
        parent=command.parent,
    )
    encoded = configuration.encode(config)
    kept = (Region(0, 0),) * len(diff_ids)
    added = Region(0, command.size_bytes)  # nothing is read of one that is there
    return Plan(
        image_id=configuration.image_id(encoded),
        content=encoded,
        config=config,
        source=Path(command.path),
        layers=kept if is_empty else (*kept, added),
        origin="build",
    )


def _plan(command: m.CommitImage, parent: Image, created: str) -> Plan:
    is_empty = command.diff_id == _EMPTY_TAR
    below = parent.config.rootfs.diff_ids
    history = m.History(
        created=created,
        created_by=" ".join(command.container.cmd),
        author=command.author,
        comment=command.comment,
        empty_layer=is_empty,
    )
    config = replace(
        parent.config,
        created=created,
        author=command.author,
        config=merged(changes.apply_changes(command.config, command.changes), command.container),
        rootfs=m.RootFilesystem(diff_ids=below if is_empty else (*below, command.diff_id)),
        history=(*parent.config.history, history),
        comment=command.comment,
        container=command.container_id,
        parent=parent.id,
    )
    encoded = configuration.encode(config)
    kept = (Region(0, 0),) * len(below)  # they are there, held by the parent: nothing is read for them
    return Plan(
        image_id=configuration.image_id(encoded),
        content=encoded,
        config=config,
        source=Path(command.path),
        layers=kept if is_empty else (*kept, Region(0, command.size_bytes)),
        origin="commit",
    )


def merged(said: m.RunConfig, container: m.RunConfig) -> m.RunConfig:
    """What was said of the image, and the container's where nothing was."""
    named = {variable.partition("=")[0] for variable in said.env}
    takes_cmd = not said.entrypoint and not said.cmd
    return replace(
        said,
        user=said.user or container.user,
        exposed_ports=container.exposed_ports | said.exposed_ports,
        env=said.env + tuple(each for each in container.env if each.partition("=")[0] not in named),
        labels=container.labels | said.labels,
        cmd=container.cmd if takes_cmd else said.cmd,
        entrypoint=said.entrypoint or container.entrypoint,
        healthcheck=_merged_check(said.healthcheck, container.healthcheck),
        working_dir=said.working_dir or container.working_dir,
        volumes=container.volumes | said.volumes,
        stop_signal=said.stop_signal or container.stop_signal,
        shell=said.shell or container.shell,
    )


def _merged_check(
    said: m.HealthcheckConfig | None, container: m.HealthcheckConfig | None
) -> m.HealthcheckConfig | None:
    if said is None or container is None:
        return said or container
    values = {name: getattr(said, name) or getattr(container, name) for name in said.__struct_fields__}
    return m.HealthcheckConfig(**values)
