"""The kinds of failure that cross the bus and become an HTTP status; concrete errors subclass one of them."""

from typing import ClassVar


class EngineError(Exception):
    """A failure with a kind; `str(error)` is the text a client is shown, in Docker's wording."""

    kind: ClassVar[str] = "system"

    def __init__(self, message: str = "", *, recorded: str | None = None) -> None:
        """`recorded` is the text for the log where `message` may quote a secret."""
        self._recorded = recorded
        super().__init__(message)

    @property
    def recorded(self) -> str:
        """What of the text the log may hold; a class whose text may quote a secret leaves that out."""
        return str(self) if self._recorded is None else self._recorded

    def as_recorded(self) -> "EngineError":
        """An error of the same kind that says no more than the log may hold."""
        return KINDS.get(self.kind, EngineError)(self.recorded)


class InvalidParameter(EngineError):
    """What was asked for makes no sense, whatever the state."""

    kind = "invalid_parameter"


class Unauthorized(EngineError):
    """Nobody we know."""

    kind = "unauthorized"


class Forbidden(EngineError):
    """Known, and not allowed."""

    kind = "forbidden"


class NotFound(EngineError):
    """No such object."""

    kind = "not_found"


class Conflict(EngineError):
    """Sensible in another state than the present one."""

    kind = "conflict"


class Unprocessable(EngineError):
    """Well formed, and at odds with what the same caller said before."""

    kind = "unprocessable"


class NotModified(EngineError):
    """The state asked for is the state already."""

    kind = "not_modified"


class Unsupported(EngineError):
    """Docker has it, this engine (or this host) doesn't."""

    kind = "unsupported"


class Unavailable(EngineError):
    """Can't be served now; may be later."""

    kind = "unavailable"


class DeadlineExceeded(EngineError):
    """It took longer than allowed; what was begun has been undone or will be."""

    kind = "deadline_exceeded"


class SystemFailure(EngineError):
    """The host or a tool failed; the text says which and how."""

    kind = "system"


KINDS: dict[str, type[EngineError]] = {
    error.kind: error
    for error in (
        InvalidParameter,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        Unprocessable,
        NotModified,
        Unsupported,
        Unavailable,
        DeadlineExceeded,
        SystemFailure,
    )
}


def reason_of(error: BaseException) -> str:
    """Why something failed, as far as the log may hold it."""
    text = error.recorded if isinstance(error, EngineError) else str(error)
    return text or type(error).__name__


def first_error(error: BaseException) -> BaseException:
    """What to show of a failure of several tasks: an engine's own error before anything else."""
    leaves: list[BaseException] = []
    pending = [error]
    while pending:
        each = pending.pop(0)
        if isinstance(each, BaseExceptionGroup):
            pending.extend(each.exceptions)
        else:
            leaves.append(each)
    return next((leaf for leaf in leaves if isinstance(leaf, EngineError)), leaves[0])
