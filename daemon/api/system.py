"""Endpoints about the engine itself."""

from typing import Final

from daemon.api.answers import as_json
from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request, Response
from daemon.shapes.containers import Sizes, View, summary
from daemon.shapes.go_values import JsonObject, Version
from daemon.shapes.images import SharedSizes
from daemon.shapes.images import summary as image_summary
from daemon.shapes.system import info_shape, version_shape
from daemon.shapes.volumes import Usage
from daemon.shapes.volumes import shape as volume_shape
from events.errors import InvalidParameter
from events.projections.containers import Container
from events.projections.images import Image
from events.projections.state import State

_PING_HEADERS: Final = {
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
}
_KINDS: Final = ("container", "image", "volume", "build-cache")


async def ping(engine: Engine, request: Request) -> Answer:
    """`/_ping`: clients learn from its headers what they talk to."""
    body = b"" if request.method == "HEAD" else b"OK"
    return Response(headers=dict(_PING_HEADERS), body=body, content_type="text/plain; charset=utf-8")


async def version(engine: Engine, request: Request) -> Answer:
    """`/version`."""
    return as_json(version_shape(engine.information()))


async def info(engine: Engine, request: Request) -> Answer:
    """`/info`."""
    shape = info_shape(
        engine.information(), engine.state, engine.clock.now_ns(), len(engine.listeners), request.version
    )
    return as_json(shape)


async def disk_usage(engine: Engine, request: Request) -> Answer:
    """`/system/df`: what images, containers and volumes take; images in blocks on disk, as du counts them."""
    kinds = request.query.get("type", []) if request.version >= (1, 42) else []
    for kind in kinds:
        if kind not in _KINDS:
            raise InvalidParameter(f"unknown object type: {kind}")
    wanted = frozenset(kinds or _KINDS)
    answer: JsonObject = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None, "BuildCache": None}
    if "image" in wanted:
        answer["LayersSize"] = sum(layer.disk_bytes for layer in engine.state.layers if layer.status == "ready")
        answer["Images"] = _images(engine.state, request)
    if "container" in wanted:
        answer["Containers"] = await _containers(engine, request)
    if "volume" in wanted:
        answer["Volumes"] = await _volumes(engine)
    if request.version < (1, 42):
        answer["BuilderSize"] = 0
    return as_json(answer)


def _images(state: State, request: Request) -> list[JsonObject]:
    shared = SharedSizes(state)
    return [_image(image, state, shared, request.version) for image in state.images if image.status == "ready"]


def _image(image: Image, state: State, shared: SharedSizes, version: Version) -> JsonObject:
    sizes = {"Size": sum(layer.disk_bytes for layer in shared.layers(image)), "SharedSize": shared.disk_bytes(image)}
    shape = image_summary(image, state, len(state.images.users(image.id)), version) | sizes
    return shape | ({"VirtualSize": sizes["Size"]} if "VirtualSize" in shape else {})


async def _containers(engine: Engine, request: Request) -> list[JsonObject]:
    view = engine.view(request.version)
    containers = [c for c in reversed(tuple(engine.state.containers)) if c.status != "creating"]
    return [await sized_summary(engine, container, view) for container in containers]


async def sized_summary(engine: Engine, container: Container, view: View) -> JsonObject:
    """A list entry with what the container takes on disk."""
    return summary(container, view, await sizes(engine, container))


async def sizes(engine: Engine, container: Container) -> Sizes:
    """What a container has written, and that together with its image."""
    written = await engine.usage.container_bytes(container.id)
    image = engine.state.images.get(container.image_id)
    return Sizes(read_write=written, root=max(written, 0) + (image.size_bytes if image else 0))


async def _volumes(engine: Engine) -> list[JsonObject]:
    volumes = [volume for volume in engine.state.volumes if volume.status == "ready"]
    usages = [Usage(size_bytes=await engine.usage.directory_bytes(volume.mountpoint)) for volume in volumes]
    return [volume_shape(volume, engine.keyring, usage) for volume, usage in zip(volumes, usages, strict=True)]
