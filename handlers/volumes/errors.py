"""What can go wrong with volumes, in the words that Docker's clients know."""

from collections.abc import Iterable

from events.errors import Conflict, InvalidParameter, NotFound


class NoSuchVolume(NotFound):
    """Nobody has made it, or it is gone."""

    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")


class VolumeInUse(Conflict):
    """Containers refer to it."""

    def __init__(self, name: str, users: Iterable[str]) -> None:
        super().__init__(f"remove {name}: volume is in use - [{', '.join(sorted(users))}]")


class NameConflict(Conflict):
    """Another driver keeps a volume of that name."""

    def __init__(self, name: str, driver: str) -> None:
        super().__init__(f"create {name}: driver '{driver}' already has volume '{name}': volume name must be unique")


class NoSuchDriver(NotFound):
    """No driver, and no plugin, of that name."""

    def __init__(self, driver: str, operation: str) -> None:
        super().__init__(f'{operation}: error looking up volume plugin {driver}: plugin "{driver}" not found')


class BadName(InvalidParameter):
    """Not a name for a volume of the local driver."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )


class ShortName(InvalidParameter):
    """A single character would be easily mistaken for something else."""

    def __init__(self) -> None:
        super().__init__("volume name is too short, names should be at least two alphanumeric characters")


class BadOption(InvalidParameter):
    """The driver has no such option."""

    def __init__(self, option: str) -> None:
        super().__init__(f'invalid option: "{option}"')


class MissingOption(InvalidParameter):
    """An option that was given needs another."""

    def __init__(self, option: str) -> None:
        super().__init__(f'missing required option: "{option}"')
