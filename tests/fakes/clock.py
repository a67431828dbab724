"""A clock that tests set; without it nothing about time could be shown without waiting."""


class SetClock:
    """Stands still until it is told otherwise."""

    def __init__(self, ns: int = 1_700_000_000_000_000_000) -> None:
        self.ns = ns

    def now_ns(self) -> int:
        """The time that was set."""
        return self.ns
