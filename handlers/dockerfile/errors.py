"""What can be wrong with an instruction; the wording is dockerd's."""

from typing_extensions import override

from events.errors import InvalidParameter


class InvalidChange(InvalidParameter):
    """A `--change` that isn't a Dockerfile instruction which makes sense here; what it says may be a secret."""

    @property
    @override
    def recorded(self) -> str:
        """Without its words."""
        return "a change isn't an instruction that makes sense here"


class InvalidDockerfile(InvalidParameter):
    """A file that isn't a Dockerfile; what it says may be a secret. `line` is where, 0 for the whole."""

    def __init__(self, reason: str, line: int = 0) -> None:
        self.reason, self.line = reason, line
        place = f"dockerfile parse error line {line}" if line else "failed to parse Dockerfile"
        super().__init__(f"{place}: {reason}")

    @property
    @override
    def recorded(self) -> str:
        """Without its words."""
        return f"the Dockerfile can't be read (line {self.line})" if self.line else "the Dockerfile can't be read"
