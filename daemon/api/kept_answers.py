"""Containers as the bytes of their answers; without it whoever polls would have all of them shaped and encoded anew.

Beside an answer stands all that it was made from, and both are compared at every use: nothing has to tell of a change.
That a container is gone must be told, for the sake of memory and of the secrets that an answer shows.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from daemon.api.answers import json_line
from daemon.shapes.container_status import sentence
from daemon.shapes.containers import View, around_status, exec_ids, inspection, lineage
from daemon.shapes.go_values import Version
from events.container_links import shown
from events.envelope import Recorded
from events.messages.container import ContainerRemoved
from events.projections.containers import Container
from events.projections.networks import Network
from events.projections.state import State

INSPECTIONS_KEPT: Final = 256
VERSIONS_KEPT: Final = 2  # of lists: programs and people rarely come with more at a time

_ENCODER: Final = msgspec.json.Encoder()

Grounds = tuple[object, ...]
Entry = tuple[Grounds, bytes, bytes]  # what a list shows before the status and after it


class KeptAnswers:
    """Of the containers of one engine, now."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Version, dict[str, Entry]] = OrderedDict()  # by container
        self._inspections: OrderedDict[str, tuple[Grounds, bytes]] = OrderedDict()

    def listed(self, containers: Iterable[Container], view: View) -> bytes:
        """A list of them."""
        entries, networks = self._entries_of(view.version), tuple(view.state.networks)
        pieces: list[bytes] = []
        for container in containers:
            grounds = _grounds(container, view.state, networks)
            entry = entries.get(container.id)
            if entry is None or entry[0] != grounds:
                entry = entries[container.id] = (grounds, *_around_status(container, view))
            status = _ENCODER.encode(sentence(container, view.now_ns))
            pieces.append(b"%s%s%s" % (entry[1], status, entry[2]))
        return b"[%s]\n" % b",".join(pieces)

    def inspected(self, container: Container, view: View) -> bytes:
        """All there is to tell of one."""
        state = view.state
        grounds = (
            *_grounds(container, state, tuple(state.networks)),
            view.version,
            view.health(container.id),
            exec_ids(container, state),
            shown(container, state.containers),
            [layer.cache_id for layer in lineage(container, state)],
        )
        kept = self._inspections.get(container.id)
        if kept is None or kept[0] != grounds:
            kept = self._inspections[container.id] = grounds, json_line(inspection(container, view))
        self._inspections.move_to_end(container.id)
        while len(self._inspections) > INSPECTIONS_KEPT:
            self._inspections.popitem(last=False)
        return kept[1]

    def forget(self, batch: Sequence[Recorded]) -> None:
        """What is removed (a listener of the log, since keys are destroyed right after the removal's event)."""
        for recorded in batch:
            if isinstance(recorded.event, ContainerRemoved):
                self._inspections.pop(recorded.event.container_id, None)
                for entries in self._entries.values():
                    entries.pop(recorded.event.container_id, None)

    def _entries_of(self, version: Version) -> dict[str, Entry]:
        entries = self._entries.setdefault(version, {})
        self._entries.move_to_end(version)
        while len(self._entries) > VERSIONS_KEPT:
            self._entries.popitem(last=False)
        return entries


def _grounds(container: Container, state: State, networks: tuple[Network, ...]) -> Grounds:
    """All that both answers are made from besides the version and the time; mostly the very same objects as before."""
    image = state.images.get(container.image_id)
    return (
        container,
        state.sandboxes.get(container.id),
        image.references if image else None,
        state.containers.linking_to(container.id),
        [state.volumes.get(point.name) for point in container.mounts if point.name],
        networks,
    )


def _around_status(container: Container, view: View) -> tuple[bytes, bytes]:
    """A list entry without its status."""
    before, after = around_status(container, view)
    return _ENCODER.encode(before)[:-1] + b',"Status":', b"," + _ENCODER.encode(after)[1:]
