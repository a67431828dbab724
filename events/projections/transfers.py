"""Which pulls and pushes are under way; recovery tells of those that a crash cut off."""

from collections.abc import Iterator

import msgspec

from events.envelope import Recorded
from events.messages import image as m
from events.projections.tables import Projection


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """An open intent to fetch from a registry, or to send there."""

    id: str
    name: str  # canonical
    is_push: bool
    sequence: int  # of the intent


class Transfers(Projection):
    """All open ones, by id."""

    _by_id: dict[str, Transfer]

    def __iter__(self) -> Iterator[Transfer]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, transfer_id: str) -> Transfer | None:
        """None when it has ended."""
        return self._by_id.get(transfer_id)

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `transfer/` stream."""
        transfer_id = recorded.stream.partition("/")[2]
        match recorded.event:
            case m.ImagePullRequested(name=name) | m.ImagePushRequested(name=name):
                is_push = isinstance(recorded.event, m.ImagePushRequested)
                self._by_id[transfer_id] = Transfer(
                    id=transfer_id, name=name, is_push=is_push, sequence=recorded.sequence
                )
            case m.ImagePullFinished() | m.ImagePullFailed() | m.ImagePushFinished() | m.ImagePushFailed():
                self._by_id.pop(transfer_id, None)
            case _:
                pass
