"""Images' manifests, for those who ask for them (`manifests`): an image has one here, that of its archive.

It isn't kept, so its size on disk is that of the configuration alone. Reading is all that it takes, but it takes that:
the configurations and the sizes of the layers' tars lie on disk.
"""

from daemon.api.engine import Engine
from daemon.api.platforms import platform_of
from daemon.http.messages import Request
from daemon.http.query import boolean, text
from daemon.shapes.go_values import JsonObject, without_empty
from events.errors import InvalidParameter, SystemFailure
from events.projections.images import Image
from handlers.images.saving import MANIFEST_TYPE, manifest_of

_LIST, _INSPECTION = (1, 47), (1, 48)


async def listed_manifests(engine: Engine, request: Request, image: Image) -> JsonObject:
    """`Manifests` of a list entry, as far as it was asked for."""
    asked = request.version >= _LIST and boolean(request.query, "manifests")
    return {"Manifests": await _summaries(engine, image)} if asked else {}


async def inspected_manifests(engine: Engine, request: Request, image: Image) -> JsonObject:
    """`Manifests` of an inspection, as far as it was asked for. Raises InvalidParameter with a platform besides."""
    if request.version < _INSPECTION or not boolean(request.query, "manifests"):
        return {}
    if text(request.query, "platform"):
        raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
    return {"Manifests": await _summaries(engine, image)}


async def _summaries(engine: Engine, image: Image) -> list[JsonObject]:
    """One, or none while the image goes."""
    try:
        return [await _summary(engine, image)]
    except SystemFailure:
        still = engine.state.images.get(image.id)
        if still is None or still.status != "ready":
            return []
        raise


async def _summary(engine: Engine, image: Image) -> JsonObject:
    config = await engine.image_content.read(image.id)
    layers = [layer for chain_id in image.layers if (layer := engine.state.layers.get(chain_id))]
    sizes = [await engine.layer_tars.tar_size(layer.cache_id) for layer in layers]
    manifest = manifest_of(config, [(layer.diff_id, size) for layer, size in zip(layers, sizes, strict=True)])
    platform = platform_of(image)
    unpacked = sum(layer.disk_bytes for layer in layers)
    return {
        "ID": manifest.digest,
        "Descriptor": {"mediaType": MANIFEST_TYPE, "digest": manifest.digest, "size": manifest.size},
        "Available": True,
        "Size": {"Content": len(config), "Total": len(config) + unpacked},
        "Kind": "image",
        "ImageData": {
            "Platform": without_empty(
                {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}, ("variant",)
            ),
            "Containers": sorted(engine.state.images.users(image.id)),
            "Size": {"Unpacked": unpacked},
        },
    }
