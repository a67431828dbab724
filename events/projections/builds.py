"""Which builds are under way; recovery takes away what those have left that a crash cut off."""

from collections.abc import Iterator

import msgspec

from events.envelope import Recorded
from events.messages import build as m
from events.projections.tables import Projection


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """An open intent to build. Whatever its steps make is made for its command's `correlation_id`."""

    id: str
    correlation_id: str
    sequence: int  # of the intent


class Builds(Projection):
    """All open ones, by id."""

    _by_id: dict[str, Build]

    def __iter__(self) -> Iterator[Build]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, build_id: str) -> Build | None:
        """None when it has ended."""
        return self._by_id.get(build_id)

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `build/` stream."""
        build_id = recorded.stream.partition("/")[2]
        match recorded.event:
            case m.BuildRequested():
                self._by_id[build_id] = Build(
                    id=build_id, correlation_id=recorded.cause.correlation_id, sequence=recorded.sequence
                )
            case m.BuildSucceeded() | m.BuildFailed():
                self._by_id.pop(build_id, None)
            case _:
                pass
