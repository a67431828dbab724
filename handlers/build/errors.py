"""What can go wrong with a build, by name; the wording is dockerd's."""

from typing_extensions import override

from events.errors import InvalidParameter, SystemFailure

_BUILDKIT = "Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"


class BuildAbandoned(SystemFailure):
    """Nobody watches the build any more."""

    def __init__(self) -> None:
        super().__init__("context canceled")


class NeedsBuildKit(InvalidParameter):
    """An option that the classic builder doesn't have."""

    def __init__(self, option: str) -> None:
        self.option = option
        super().__init__(f"the --{option} option requires BuildKit. {_BUILDKIT}")


class CommandFailed(SystemFailure):
    """A RUN ended with another status than 0; what it ran may hold a secret."""

    def __init__(self, command: str, code: int) -> None:
        self.command, self.code = command, code
        super().__init__(f"The command '{command}' returned a non-zero code: {code}")

    @property
    @override
    def recorded(self) -> str:
        """Without the command."""
        return f"a command returned a non-zero code: {self.code}"


class CopyFailed(InvalidParameter):
    """Files that an instruction names can't be had."""

    def __init__(self, instruction: str, reason: object) -> None:
        self.instruction, self.reason = instruction, reason
        super().__init__(f"{instruction} failed: {reason}")

    @property
    @override
    def recorded(self) -> str:
        """Without addresses and paths."""
        return f"{self.instruction} failed: its files can't be had"


class UnknownSource(InvalidParameter):
    """What `--from` names can't be had."""

    def __init__(self, name: str, reason: object) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"invalid from flag value {name}: {reason}")


class OutsideContext(InvalidParameter):
    """A path that leads out of the context."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"forbidden path outside the build context: {path} ()")


class NoSuchDockerfile(InvalidParameter):
    """The context has none of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Cannot locate specified Dockerfile: {name}")


class NoImageGenerated(InvalidParameter):
    """The instructions make nothing."""

    def __init__(self) -> None:
        super().__init__("No image was generated. Is your Dockerfile empty?")
