"""The filters of prunes: labels, and how old something must be."""

from typing import Final

from daemon.api.filters import Filters, labelled, single
from daemon.http.timestamps import PRUNE, timestamp

KEYS: Final = frozenset({"label", "label!", "until"})


class Prunable:
    """Which objects a prune takes: the parsed filters."""

    def __init__(self, filters: Filters, now_ns: int) -> None:
        """Raises InvalidParameter."""
        self._filters = filters
        self._until_ns = single(filters, "until", lambda text: parse_until(text, now_ns))

    def takes(self, labels: dict[str, str], created_at_ns: int) -> bool:
        """Whether an object may go as far as the filters are concerned."""
        is_old = self._until_ns is None or created_at_ns < self._until_ns
        return is_old and labelled(self._filters, labels)


def parse_until(text: str, now_ns: int) -> int:
    """A duration before now, unix seconds, or an RFC 3339 time, as ns. Raises InvalidParameter."""
    return timestamp(text, now_ns=now_ns, wording=PRUNE)
