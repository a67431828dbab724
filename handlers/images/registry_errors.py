"""What can go wrong with registries, by name; the wording is dockerd's."""

from events.errors import EngineError, InvalidParameter, NotFound, SystemFailure


class RegistryRefused(SystemFailure):
    """A registry's own answer (distribution specification, "Error Codes"). `code` is in capitals, "" without one."""

    def __init__(self, code: str, reason: str, status: int) -> None:
        self.code, self.reason, self.status = code, reason, status
        words = code.lower().replace("_", " ")
        super().__init__(f"{words}: {reason}" if words else reason)


class RegistryUnreachable(SystemFailure):
    """No answer, or only half of one; it may be tried again. `is_final` where that is in vain."""

    def __init__(self, method: str, url: str, reason: str, *, is_final: bool = False) -> None:
        self.reason, self.is_final = reason, is_final
        super().__init__(f'{method.capitalize()} "{url}": {reason}')


class NoCredentials(SystemFailure):
    """A registry wants a password and there is none."""

    def __init__(self, method: str, url: str) -> None:
        super().__init__(f'{method.capitalize()} "{url}": no basic auth credentials')


class PullDenied(NotFound):
    """No such repository, or not for this client: registries don't tell which."""

    def __init__(self, name: str, cause: RegistryRefused) -> None:
        super().__init__(
            f"pull access denied for {name}, repository does not exist or may require 'docker login': {cause}"
        )


class NoManifest(NotFound):
    """No such tag or digest."""

    def __init__(self, name: str, cause: RegistryRefused) -> None:
        super().__init__(f"manifest for {name} not found: {cause}")


class NoRepository(NotFound):
    """No such repository."""

    def __init__(self, name: str, cause: RegistryRefused) -> None:
        super().__init__(f"repository {name} not found: {cause}")


class NoMatchingManifest(NotFound):
    """The image isn't made for this platform."""

    def __init__(self, platform: str) -> None:
        super().__init__(f"no matching manifest for {platform} in the manifest list entries")


class BadManifest(InvalidParameter):
    """A registry's document that isn't what it has to be."""


class WrongContent(InvalidParameter):
    """Content that isn't what its digest or size says."""


def denied_pull(name: str, reference: str, error: RegistryRefused) -> RegistryRefused | NotFound:
    """The error as a pull of `reference` (familiar) from the repository `name` (familiar) tells it."""
    match error.code:
        case "DENIED":
            return PullDenied(name, error)
        case "MANIFEST_UNKNOWN":
            return NoManifest(reference, error)
        case "NAME_UNKNOWN":
            return NoRepository(name, error)
        case _:
            return error


def is_passing(error: EngineError) -> bool:
    """Whether trying again may help."""
    match error:
        case RegistryUnreachable():
            return not error.is_final
        case RegistryRefused():
            return error.status >= 500 or error.status == 429 or error.code == "TOOMANYREQUESTS"
        case _:
            return False
