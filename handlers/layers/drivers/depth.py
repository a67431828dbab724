"""How many layers a stack may have; without it a stack would be made that no mount accepts."""

from collections.abc import Sequence

from events.errors import SystemFailure

MAXIMUM_DEPTH = 127


class TooDeep(SystemFailure):
    """More layers than Docker allows in a stack."""

    def __init__(self) -> None:
        super().__init__("max depth exceeded")


def check_depth(lineage: Sequence[str]) -> None:
    """Raises TooDeep."""
    if len(lineage) > MAXIMUM_DEPTH:
        raise TooDeep
