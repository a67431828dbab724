"""How far a build is: what its stages have come to, and where the present one stands."""

from events.errors import InvalidParameter
from events.messages.image import RunConfig


class Stages:
    """What has come of the stages so far, by number and by name."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._names: dict[str, int] = {}

    def begin(self, name: str) -> None:
        """Raises InvalidParameter for a name that there is."""
        if name in self._names:
            raise InvalidParameter(f"{name} stage name already used")
        self._ids.append("")
        if name:
            self._names[name] = len(self._ids) - 1

    def reach(self, image_id: str) -> None:
        """The present one has come so far."""
        self._ids[-1] = image_id

    def named(self, name: str) -> str | None:
        """The image of an earlier stage of this name; "" of one that made none, None for no such stage."""
        number = self._names.get(name.lower())
        return None if number is None else self.numbered(number)

    def numbered(self, number: int) -> str | None:
        """The image of an earlier stage by its number."""
        return self._ids[number] if 0 <= number < len(self._ids) - 1 else None


class Position:
    """Where a stage stands: the image that it has come to, and what is known besides."""

    def __init__(self, image_id: str, config: RunConfig) -> None:
        self.image_id, self.config = image_id, config
        self.author = ""
        self.is_cmd_set = False  # by an instruction of this stage
        self.has_missed = False  # a step wasn't in the cache, and so no later one can be
