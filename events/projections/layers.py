"""What is known of every read-only layer; the layer handler decides on it."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import accumulate

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.messages import layer as m
from events.projections.tables import Projection


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A read-only layer as the log tells it."""

    chain_id: str
    diff_id: str
    parent: str  # chain id; "" at the bottom
    cache_id: str  # its name on disk
    driver: str
    size_bytes: int = 0  # of its files
    disk_bytes: int = 0  # that it takes on disk
    holders: frozenset[str] = frozenset()
    status: str = "applying"  # applying, ready, removing
    version: int = 0


def fold(layer: Layer, event: Event) -> Layer | None:
    """The state after an event; None when it is gone."""
    replace = msgspec.structs.replace
    match event:
        case m.LayerApplied(size_bytes=size_bytes, disk_bytes=disk_bytes):
            return replace(layer, status="ready", size_bytes=size_bytes, disk_bytes=disk_bytes or size_bytes)
        case m.LayerApplyFailed() | m.LayerRemoved():
            return None
        case m.LayerHeld(holder=holder):
            return replace(layer, holders=layer.holders | {holder})
        case m.LayerReleased(holder=holder):
            return replace(layer, holders=layer.holders - {holder})
        case m.LayerRemoveRequested():
            return replace(layer, status="removing")
        case _:
            return layer


def chain_id(parent: str, diff_id: str) -> str:
    """The identity of a layer with all below it (OCI image specification, config.md, "Layer ChainID")."""
    if not parent:
        return diff_id
    return f"sha256:{hashlib.sha256(f'{parent} {diff_id}'.encode()).hexdigest()}"


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """The identities of a stack of layers, bottom first."""
    return list(accumulate(diff_ids, chain_id))


class Layers(Projection):
    """All read-only layers, by chain id."""

    _by_id: dict[str, Layer]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, chain_id: str) -> Layer | None:
        """By chain id (`sha256:...`)."""
        return self._by_id.get(chain_id)

    def held_by(self, holder: str) -> tuple[Layer, ...]:
        """All layers that a holder keeps."""
        return tuple(layer for layer in self._by_id.values() if holder in layer.holders)

    def lineage(self, chain_id: str) -> tuple[Layer, ...]:
        """A layer and its ancestors, top first; where the log knows one no more it ends early."""
        found = []
        while (layer := self._by_id.get(chain_id)) is not None:
            found.append(layer)
            chain_id = layer.parent
        return tuple(found)

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `layer/` stream."""
        event = recorded.event
        chain_id = recorded.stream.partition("/")[2]
        before = self._by_id.get(chain_id)
        if isinstance(event, m.LayerApplyRequested):
            after: Layer | None = Layer(
                chain_id=event.chain_id,
                diff_id=event.diff_id,
                parent=event.parent,
                cache_id=event.cache_id,
                driver=event.driver,
                holders=frozenset((event.holder,)),
            )
        elif before is None:
            return
        else:
            after = fold(before, event)
        if after is None:
            del self._by_id[chain_id]
            return
        self._by_id[chain_id] = msgspec.structs.replace(after, version=recorded.version)
