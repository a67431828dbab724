"""Volumes as the API shows them."""

import msgspec

from daemon.shapes.go_values import JsonObject
from daemon.shapes.secrets import open_options
from daemon.shapes.times import rfc3339_seconds
from events.projections.volumes import Volume
from events.sealed import Keyring


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume takes on disk, -1 when nobody knows."""

    size_bytes: int


def shape(volume: Volume, keyring: Keyring, usage: Usage | None = None) -> JsonObject:
    """One volume; how much it holds and who uses it only where asked for."""
    described: JsonObject = {
        "CreatedAt": rfc3339_seconds(volume.created_at_ns),
        "Driver": volume.driver,
        "Labels": volume.labels or None,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": open_options(volume.options, keyring),
        "Scope": "local",
    }
    if usage is not None:
        described["UsageData"] = {"RefCount": len(volume.users), "Size": usage.size_bytes}
    return described
