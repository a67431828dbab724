"""Containers as `GET /containers/json` and `GET /containers/{id}/json` show them."""

from collections.abc import Callable
from functools import lru_cache

import msgspec

from daemon.shapes.container_configuration import config_shape, host_shape, path_and_arguments, quoted_command
from daemon.shapes.container_network import network_settings, networks
from daemon.shapes.container_status import docker_status, sentence, state
from daemon.shapes.go_values import JsonObject, Version, list_or_null
from daemon.shapes.layout import Layout
from daemon.shapes.ports import port_list
from daemon.shapes.secrets import open_container
from daemon.shapes.times import SECOND_NS, rfc3339
from events.container_links import other_names, shown
from events.errors import InvalidParameter
from events.lookup import names_by_id
from events.messages.container import HostConfig, MountPoint
from events.projections.containers import Container
from events.projections.layers import Layer
from events.projections.state import State
from events.references import canonical
from events.sealed import Keyring
from handlers.policies.health import Health


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What shapes of containers are made from besides the container."""

    state: State
    keyring: Keyring
    layout: Layout
    version: Version
    now_ns: int
    health: Callable[[str], Health | None] = lambda _: None  # container id -> its last probes


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes in a container's own layer, and in all of its file system."""

    read_write: int
    root: int


def summary(container: Container, view: View, sizes: Sizes | None = None) -> JsonObject:
    """A list entry."""
    before, after = around_status(container, view, sizes)
    return before | {"Status": sentence(container, view.now_ns)} | after


def around_status(container: Container, view: View, sizes: Sizes | None = None) -> tuple[JsonObject, JsonObject]:
    """What a list entry has before `Status` and after it: only that one changes by itself."""
    opened = open_container(container, view.keyring)
    before: JsonObject = {
        "Id": container.id,
        "Names": [f"/{container.name}", *other_names(container, view.state.containers)],
        "Image": shown_image(container, view.state),
        "ImageID": container.image_id,
        "Command": quoted_command(opened.config),
        "Created": container.created_at_ns // SECOND_NS,
        "Ports": port_list(container, view.state.sandboxes.get(container.id)),
        **_sizes(sizes),
        "Labels": container.config.labels,
        "State": docker_status(container),
    }
    after: JsonObject = {
        "HostConfig": _host_summary(container, view.version),
        "NetworkSettings": {"Networks": networks(container, view.state, view.version)},
        "Mounts": mounts(container, view.state),
    }
    return before, after


def _sizes(sizes: Sizes | None) -> JsonObject:
    if sizes is None:
        return {}
    return {"SizeRw": sizes.read_write, "SizeRootFs": sizes.root}


def _host_summary(container: Container, version: Version) -> JsonObject:
    host: JsonObject = {"NetworkMode": container.host.network_mode}
    if version >= (1, 46) and container.host.annotations:
        host["Annotations"] = container.host.annotations
    return host


def shown_image(container: Container, state: State) -> str:
    """The image as it was asked for, or its id once that name means another image."""
    image = state.images.get(container.image_id)
    if image is None or not image.references or names_by_id(image, container.image_reference):
        return container.image_reference
    known = _canonical(container.image_reference) in image.references
    return container.image_reference if known else container.image_id


@lru_cache(maxsize=1024)
def _canonical(reference: str) -> str:
    try:
        return canonical(reference)
    except InvalidParameter:
        return reference


def inspection(container: Container, view: View, sizes: Sizes | None = None) -> JsonObject:
    """All there is to tell of a container."""
    opened = open_container(container, view.keyring)
    path, arguments = path_and_arguments(opened.config)
    config = config_shape(opened.config, view.version)
    return {
        "Id": container.id,
        "Created": rfc3339(container.created_at_ns),
        "Path": path,
        "Args": arguments,
        "State": state(container, view.health(container.id)),
        "Image": container.image_id,
        **_paths(container, view.layout),
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": view.layout.storage_driver,
        "Platform": container.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": _apparmor_profile(container),
        "ExecIDs": exec_ids(container, view.state),
        "HostConfig": host_shape(_with_links(opened.host, container, view.state), view.version),
        "GraphDriver": view.layout.container_graph(container.id, lineage(container, view.state)),
        **_sizes(sizes),
        "Mounts": mounts(container, view.state),
        "Config": config,
        "NetworkSettings": network_settings(container, view.state, view.layout, view.version),
    }


def _with_links(host: HostConfig, container: Container, state: State) -> HostConfig:
    return msgspec.structs.replace(host, links=shown(container, state.containers)) if host.links else host


def _paths(container: Container, layout: Layout) -> JsonObject:
    """Files that exist from the first start on."""
    names = (("ResolvConfPath", "resolv.conf"), ("HostnamePath", "hostname"), ("HostsPath", "hosts"))
    files = (*names, ("LogPath", "output.log"))
    return {key: layout.container_file(container.id, name) if container.run else "" for key, name in files}


def _apparmor_profile(container: Container) -> str:
    """Of its last start; before the first one what was asked for."""
    if container.run:
        return container.apparmor_profile
    options = (option.replace(":", "=", 1).partition("=") for option in container.host.security_opt)
    return next((value for key, _, value in options if key == "apparmor"), "")


def exec_ids(container: Container, state: State) -> list[object] | None:
    """Execs that run or may yet run."""
    return list_or_null(e.id for e in state.execs.of(container.id) if e.status != "exited")


def lineage(container: Container, state: State) -> tuple[Layer, ...]:
    """The layers of its image, top first."""
    image = state.images.get(container.image_id)
    return state.layers.lineage(image.layers[-1]) if image and image.layers else ()


def mounts(container: Container, state: State) -> list[JsonObject]:
    """The `Mounts` list, by destination; tmpfs of `--tmpfs` is in HostConfig only, as in Docker."""
    asked = {mount.target for mount in container.host.mounts}
    points = (p for p in container.mounts if p.type != "tmpfs" or p.destination in asked)
    return [_mount(point, state) for point in sorted(points, key=lambda point: point.destination)]


def _mount(point: MountPoint, state: State) -> JsonObject:
    volume = state.volumes.get(point.name) if point.name else None
    shape: JsonObject = {"Type": point.type}
    if point.name:
        shape["Name"] = point.name
    shape["Source"] = volume.mountpoint if volume else point.source
    shape["Destination"] = point.destination
    if point.type == "volume":
        shape["Driver"] = volume.driver if volume else point.driver
    return shape | {"Mode": point.mode, "RW": point.writable, "Propagation": point.propagation}
