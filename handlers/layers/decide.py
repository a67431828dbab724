"""Decisions about layers, pure: what is appended follows from the command and the state alone."""

import re
from collections.abc import Sequence
from itertools import takewhile

from events.errors import InvalidParameter
from events.log import Append
from events.messages import layer as m
from events.messages.layer import ViewMount
from events.projections.layers import Layer, Layers
from events.projections.layers import chain_id as chain_id
from events.projections.state import State
from handlers.layers.errors import LayerNotHeld, NoContainerLayer, NoSuchLayer, OtherDriver
from handlers.layers.ports import Subject

CONTAINER_PREFIX = "container-"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_digest(digest: str) -> None:
    """Raises InvalidParameter for what can't be a layer's digest."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidParameter(f"invalid layer digest {digest!r}")


def stream(chain: str) -> str:
    """The stream of a read-only layer."""
    return f"layer/{chain}"


def holder_turn(holder: str) -> str:
    """The key of a holder's turn; taken before any layer's."""
    return f"holder/{holder}"


def container_cache_id(container_id: str) -> str:
    """The name on disk of a container's read-write layer."""
    return f"{CONTAINER_PREFIX}{container_id}"


def check_parent(layers: Layers, command: m.ApplyLayer) -> None:
    """The layer below must be complete or on its way, and held by who asks. Raises NoSuchLayer, LayerNotHeld."""
    if not command.parent:
        return
    parent = layers.get(command.parent)
    if parent is None or parent.status == "removing":
        raise NoSuchLayer(command.parent)
    if command.holder not in parent.holders:
        raise LayerNotHeld(command.parent, command.holder)


def is_applying(layers: Layers, chain: str) -> bool:
    """Whether a layer is being made."""
    layer = layers.get(chain)
    return layer is not None and layer.status == "applying"


def present(layers: Layers, chains: Sequence[str]) -> list[Layer]:
    """Complete layers, up to the first that isn't."""
    found = (layers.get(chain) for chain in chains)
    return [layer for layer in takewhile(_is_ready, found) if layer is not None]


def _is_ready(layer: Layer | None) -> bool:
    return layer is not None and layer.status == "ready"


def hold(layer: Layer, holder: str) -> Append:
    """Another holder for a complete layer."""
    event = m.LayerHeld(chain_id=layer.chain_id, holder=holder)
    return Append(stream=stream(layer.chain_id), events=(event,), expected=layer.version)


def readers(layers: Layers) -> tuple[str, ...]:
    """Holders that only read, and so don't outlive the engine's run."""
    return tuple(dict.fromkeys(one for layer in layers for one in layer.holders if one.startswith(m.READING)))


def release(layers: Layers, holder: str) -> tuple[Append, ...]:
    """Everything that a holder keeps, given up at once."""
    return tuple(
        Append(
            stream=stream(layer.chain_id),
            events=(m.LayerReleased(chain_id=layer.chain_id, holder=holder),),
            expected=layer.version,
        )
        for layer in layers.held_by(holder)
    )


def removable(layers: Layers, chain: str, driver: str, going: frozenset[str] = frozenset()) -> Layer | None:
    """The layer if nobody holds it and nothing stands on it but what is `going`, or if its removal was begun and never
    ended.

    What another driver made stays until that driver is in use again.
    """
    layer = layers.get(chain)
    if layer is None or layer.status == "applying" or layer.holders or layer.driver != driver:
        return None
    return None if any(other.parent == chain and other.chain_id not in going for other in layers) else layer


def applying_for(layers: Layers, holder: str) -> tuple[str, ...]:
    """Chain ids of what is being made for a holder, bottom first."""
    return tuple(layer.chain_id for layer in layers.held_by(holder) if layer.status == "applying")


def remove(layer: Layer) -> Append:
    """The intent to remove it."""
    event = m.LayerRemoveRequested(chain_id=layer.chain_id)
    return Append(stream=stream(layer.chain_id), events=(event,), expected=layer.version)


def removed(layer: Layer) -> Append:
    """Nothing of it is left."""
    return Append(stream=stream(layer.chain_id), events=(m.LayerRemoved(chain_id=layer.chain_id),))


def lineage(layers: Layers, chain: str, driver: str) -> tuple[str, ...]:
    """Cache ids of a layer and what is below it, top first; none for "".

    Raises NoSuchLayer, and OtherDriver for a layer that the driver in use can't reach.
    """
    found = layers.lineage(chain)
    absent = found[-1].parent if found else chain
    if absent:
        raise NoSuchLayer(absent)
    for layer in found:
        check_driver(layer, driver)
    return tuple(layer.cache_id for layer in found)


def check_driver(layer: Layer, driver: str) -> None:
    """Raises OtherDriver for a layer that the driver in use can't reach."""
    if layer.driver != driver:
        raise OtherDriver(layer.chain_id, layer.driver, driver)


def container_parent(state: State, container_id: str) -> str:
    """The chain id that a container's layer stands on, "" for none. Raises NoContainerLayer, NoSuchLayer."""
    container = state.containers.get(container_id)
    if container is None:
        raise NoContainerLayer(container_id)
    if not container.image_id:
        return ""
    image = state.images.get(container.image_id)
    if image is None:
        raise NoSuchLayer(container.image_id)
    return image.layers[-1] if image.layers else ""


def subject(
    state: State,
    container_id: str,
    driver: str,
    mounts: Sequence[ViewMount],
    *,
    writable: bool,
    parent: str | None = None,
) -> Subject:
    """A container's file system as one looks into it; `parent` is what the layer stands on where it is no container's.

    Raises NoContainerLayer, NoSuchLayer, OtherDriver.
    """
    parent = container_parent(state, container_id) if parent is None else parent
    return Subject(
        container_id=container_id,
        lineage=lineage(state.layers, parent, driver),
        mounts=tuple(mounts),
        writable=writable,
    )


def known_cache_ids(state: State) -> frozenset[str]:
    """Names on disk that the log speaks of."""
    containers = (container_cache_id(container.id) for container in state.containers)
    return frozenset(layer.cache_id for layer in state.layers).union(containers)
