"""Creating: the name is claimed with the intent, then image, layer and volumes, then the container can be started."""

from pathlib import Path

import anyio
import msgspec

from events.container_lookup import find_container
from events.errors import EngineError, InvalidParameter, NotFound, Unavailable, reason_of
from events.log import ClaimTaken
from events.lookup import find_image
from events.messages import container as m
from events.messages.exec import CheckProcess
from events.messages.image import AcquireImage, ReleaseImage
from events.messages.layer import (
    CreateContainerLayer,
    MountContainerLayer,
    RemoveContainerLayer,
    UnmountContainerLayer,
)
from events.messages.volume import AcquireVolume, CreateVolume, PopulateVolume, ReleaseVolume
from events.opened import open_image
from events.projections.containers import Container
from events.projections.images import Image
from events.references import familiar
from handlers.containers import decide, links, names
from handlers.containers.access import conclude
from handlers.containers.configuration import Names, Normalised, normalise
from handlers.containers.errors import NameTaken
from handlers.containers.limits import HostLimits
from handlers.containers.mounts import plan_mounts
from handlers.containers.saga import Saga, Undo
from handlers.containers.secrets import split_secrets
from handlers.containers.validation import check_conflicts
from handlers.context import Context
from handlers.kernel.paths import existing
from handlers.together import beside, together

NAME_ATTEMPTS = 8
_SHARING = ("network_mode", "ipc_mode", "pid_mode", "cgroupns_mode")
_COMPATIBLE = {"amd64": "386", "arm64": "arm"}  # what such a processor runs besides its own


async def create(context: Context, command: m.CreateContainer, limits: HostLimits) -> m.CreatedContainer:
    """Answer CreateContainer: 404 without the image (that makes the docker CLI pull), 409 for a taken name."""
    check_conflicts(command.config, command.host)
    name = names.check_name(command.name) if command.name else ""
    image = find_image(context.state.images, command.config.image)
    _check_platform(command.platform, image)
    container_id = context.ids.new()
    plan = normalise(
        container_id,
        command.config,
        _with_ids(context, command.host),
        command.endpoints,
        open_image(image, context.keyring).config.config,
        limits,
        _shared_names(context, command.host),
    )
    binds = await existing(mount.source for mount in plan.host.mounts if mount.type == "bind" and mount.source)
    mounts = plan_mounts(
        plan.config,
        plan.host,
        lambda other: _other(context, other),
        context.ids.new,
        binds.__contains__,
    )
    warnings = [*foreign_platform(command.platform, image, limits.platform), *plan.warnings]

    async def check() -> None:
        checked = await context.send(CheckProcess(config=plan.config, host=plan.host))
        warnings.extend(checked.warnings)

    try:
        requested = await beside(check, lambda: _request(context, command, container_id, image, plan, mounts))
    except EngineError:
        await context.keyring.destroy(f"container/{container_id}")
        raise
    return await _carry_out(context, requested, name, image, msgspec.structs.replace(plan, warnings=tuple(warnings)))


def _check_platform(platform: str, image: Image) -> None:
    if not platform:
        return
    wanted = platform.split("/")
    have = [image.config.os, image.config.architecture, image.config.variant]
    if any(part and part != other for part, other in zip(wanted, have, strict=False)):
        raise NotFound(
            f"image with reference {image.references[0] if image.references else image.id} was found but its "
            f"platform ({'/'.join(filter(None, have))}) does not match the specified platform ({platform})"
        )


def foreign_platform(asked: str, image: Image, host: tuple[str, ...]) -> tuple[str, ...]:
    """The warning for an image of another machine, which may run by emulation; none when it was asked for.

    `host` is operating system, architecture and variant as OCI names them.
    """
    system, architecture, *_ = host
    runs = {architecture, _COMPATIBLE.get(architecture, architecture)}
    if asked or (image.config.os in ("", system) and image.config.architecture in runs | {""}):
        return ()
    have = "/".join(filter(None, (image.config.os, image.config.architecture, image.config.variant)))
    warning = (
        f"The requested image's platform ({have}) does not match the detected host platform "
        f"({'/'.join(filter(None, host))}) and no specific platform was requested"
    )
    return (warning,)


def _other(context: Context, name: str) -> Container:
    """Another container that the request names: an unknown one is the request's fault (400, not 404)."""
    try:
        return find_container(context.state.containers, name)
    except NotFound as error:
        raise InvalidParameter(str(error)) from error


def _with_ids(context: Context, host: m.HostConfig) -> m.HostConfig:
    """Other containers by their ids, which a renaming leaves as they are. Raises InvalidParameter."""
    return msgspec.structs.replace(
        host,
        links=links.resolve(host.links, context.state.containers),
        **{field: _with_id(context, getattr(host, field)) for field in _SHARING},
    )


def _with_id(context: Context, mode: str) -> str:
    kind, _, other = mode.partition(":")
    return f"container:{_other(context, other).id}" if kind == "container" and other else mode


def _shared_names(context: Context, host: m.HostConfig) -> Names | None:
    """Who shares a network shares its files with the names too."""
    kind, _, other = host.network_mode.partition(":")
    if kind != "container":
        return None
    config = _other(context, other).config
    return Names(hostname=config.hostname, domainname=config.domainname)


async def _request(
    context: Context,
    command: m.CreateContainer,
    container_id: str,
    image: Image,
    plan: Normalised,
    mounts: tuple[m.MountPoint, ...],
) -> m.ContainerCreateRequested:
    config, host, secrets = split_secrets(plan.config, plan.host)
    sealed = await context.keyring.seal(f"container/{container_id}", msgspec.json.encode(secrets))
    return m.ContainerCreateRequested(
        container_id=container_id,
        name="",
        image_id=image.id,
        image_reference=_shown(command.config.image, image),
        config=config,
        host=host,
        secrets=sealed,
        endpoints=plan.endpoints,
        mounts=mounts,
        platform=image.config.os or "linux",
    )


def _shown(asked: str, image: Image) -> str:
    """How `ps` shows the image: the familiar name, or the id where an id was asked for."""
    return asked if image.id.removeprefix("sha256:").startswith(asked.removeprefix("sha256:")) else familiar(asked)


async def _carry_out(
    context: Context, requested: m.ContainerCreateRequested, name: str, image: Image, plan: Normalised
) -> m.CreatedContainer:
    container_id = requested.container_id
    try:
        with anyio.CancelScope(shield=True):  # an append that was handed over stands, whether or not its caller waits
            requested = await _claim_name(context, requested, name)
    except EngineError:
        await context.keyring.destroy(f"container/{container_id}")
        raise
    saga = Saga()
    try:
        async with saga:
            await _steps(context, saga, requested, image, plan.host)
            answer = m.CreatedContainer(container_id=container_id, warnings=plan.warnings)
            await conclude(context, container_id, m.ContainerCreated(container_id=container_id), answer=answer)
    except BaseException as error:
        await fail(context, container_id, requested.name, saga.leftovers, error)
        raise
    return answer


async def _claim_name(context: Context, requested: m.ContainerCreateRequested, name: str) -> m.ContainerCreateRequested:
    for attempt in range(NAME_ATTEMPTS):
        chosen = name or names.suggest_name(requested.container_id, attempt)
        event = msgspec.structs.replace(requested, name=chosen)
        stream = f"container/{event.container_id}"
        try:
            await context.append(stream, event, expected=0, take=(decide.claim(chosen),))
        except ClaimTaken as taken:
            if name:
                raise NameTaken(name, taken.holder.removeprefix("container/")) from taken
            continue
        return event
    raise Unavailable("no free name found; choose one with --name")


async def _steps(
    context: Context, saga: Saga, requested: m.ContainerCreateRequested, image: Image, host: m.HostConfig
) -> None:
    container_id = requested.container_id
    parent = image.layers[-1] if image.layers else ""
    layer = CreateContainerLayer(container_id=container_id, parent=parent, options=host.storage_opt)
    saga.begin("image", lambda: context.send(ReleaseImage(image_id=image.id, container_id=container_id)))
    saga.begin("layer", lambda: context.send(RemoveContainerLayer(container_id=container_id)))
    await together(
        lambda: context.send(AcquireImage(image_id=image.id, container_id=container_id)), lambda: context.send(layer)
    )
    volumes = [point for point in requested.mounts if point.type == "volume"]
    for point in volumes:
        saga.begin("volume", _release(context, container_id, point))
        await _make_volume(context, container_id, point, host)
    if any(not point.no_copy for point in volumes):
        await _populate(context, saga, container_id, volumes)


def _release(context: Context, container_id: str, point: m.MountPoint) -> Undo:
    command = ReleaseVolume(name=point.name, container_id=container_id, remove=point.anonymous)
    return lambda: context.send(command)


async def _make_volume(context: Context, container_id: str, point: m.MountPoint, host: m.HostConfig) -> None:
    options = next((mount.volume_options for mount in host.mounts if mount.target == point.destination), None)
    driver = options.driver_config if options else None
    await context.send(
        CreateVolume(
            name=point.name,
            anonymous=point.anonymous,
            driver=point.driver or "local",
            options=driver.options if driver else {},
            labels=options.labels if options else {},
        )
    )
    await context.send(AcquireVolume(name=point.name, container_id=container_id))


async def _populate(context: Context, saga: Saga, container_id: str, volumes: list[m.MountPoint]) -> None:
    """What the image has at a volume's place goes into the volume while that is empty."""
    unmount = UnmountContainerLayer(container_id=container_id)
    saga.begin("mount", lambda: context.send(unmount))
    mounted = await context.send(MountContainerLayer(container_id=container_id))
    for point in volumes:
        if not point.no_copy and not point.subpath:
            source = str(Path(point.destination))
            await context.send(PopulateVolume(name=point.name, rootfs=mounted.path, source=source))
    await context.send(unmount)


async def fail(context: Context, container_id: str, name: str, leftovers: list[str], error: BaseException) -> None:
    """Write the outcome of a create that was undone; what couldn't be undone keeps the container, dead."""
    reason = reason_of(error)
    if leftovers:
        text = f"{reason}; left behind: {'; '.join(leftovers)}"
        await conclude(context, container_id, m.ContainerRemoveFailed(container_id=container_id, error=text))
        return
    failed = m.ContainerCreateFailed(container_id=container_id, error=reason)
    await conclude(context, container_id, failed, release=(decide.claim(name),))
    with anyio.CancelScope(shield=True):
        await context.keyring.destroy(f"container/{container_id}")
