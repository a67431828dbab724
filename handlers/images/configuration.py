"""Image configurations as bytes and as structs; without it nulls and odd types of foreign tools would reach decisions.

The format: OCI image specification, config.md, with Docker's extensions. The exact bytes are the image's identity.
"""

import hashlib
from typing import Any

import msgspec

from events.messages.image import ImageConfig
from handlers.images.errors import BadImageArchive, OtherSystem

LIMIT_BYTES = 4 * 1024 * 1024  # an event has to hold it


def image_id(content: bytes) -> str:
    """The id of the image with this configuration."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def parse(content: bytes) -> ImageConfig:
    """Read a configuration. Raises BadImageArchive, OtherSystem."""
    try:
        config = msgspec.convert(without_nulls(msgspec.json.decode(content)), ImageConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadImageArchive(f"invalid image configuration: {error}") from error
    except RecursionError as error:
        raise BadImageArchive("invalid image configuration: nested too deeply") from error
    if config.os not in ("", "linux"):
        raise OtherSystem(config.os)
    if config.rootfs.type != "layers":
        raise BadImageArchive(f"invalid image configuration: rootfs type {config.rootfs.type!r}")
    return config


def encode(config: ImageConfig) -> bytes:
    """Write a configuration of our own: sorted keys, nothing that is empty."""
    tree = _stated(msgspec.to_builtins(config))
    tree["config"] = _stated(msgspec.to_builtins(config.config))
    if config.config.healthcheck is not None:
        tree["config"]["Healthcheck"] = _stated(msgspec.to_builtins(config.config.healthcheck))
    tree["history"] = [_stated(msgspec.to_builtins(line)) for line in config.history]
    tree["rootfs"] = msgspec.to_builtins(config.rootfs)
    return msgspec.json.encode(tree, order="deterministic")


def without_nulls(tree: Any) -> Any:  # noqa: ANN401 - this is the decoder
    """JSON without members that are null: for Docker the same as absent."""
    if isinstance(tree, dict):
        return {key: without_nulls(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [without_nulls(value) for value in tree]
    return tree


def _stated(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if value}
