"""Turns failures into answers; the only place that knows which kind is which HTTP status."""

from http import HTTPStatus

import msgspec

from daemon.http.messages import Response
from events.errors import EngineError, InvalidParameter, NotFound

STATUS: dict[str, int] = {
    "invalid_parameter": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "request_timeout": 408,
    "conflict": 409,
    "unprocessable": 422,
    "not_modified": 304,
    "system": 500,
    "unsupported": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}

REASONS: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus}

BODYLESS = frozenset({204, 304})


class PageNotFound(NotFound):
    """No route has this method and path."""

    def __init__(self) -> None:
        super().__init__("page not found")


class ClientTooNew(InvalidParameter):
    """The path names a version above ours."""

    def __init__(self, version: str, maximum: str) -> None:
        super().__init__(f"client version {version} is too new. Maximum supported API version is {maximum}")


class ClientTooOld(InvalidParameter):
    """The path names a version below ours; such clients read plain text."""

    def __init__(self, version: str, minimum: str) -> None:
        super().__init__(
            f"client version {version} is too old. Minimum supported API version is {minimum}, "
            "please upgrade your client to a newer version"
        )


class RouteTooNew(InvalidParameter):
    """The route came with a later version than the path names."""

    def __init__(self, route: str, minimum: str) -> None:
        super().__init__(f"{route} requires minimum API version {minimum}")


class BodyTooLarge(InvalidParameter):
    """More than the endpoint is ready to hold."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"request body is larger than {limit_bytes} bytes")


class BodyCutOff(InvalidParameter):
    """The client left, or broke the protocol, inside the body."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"request body is incomplete: {reason}")


class BodyStalled(InvalidParameter):
    """The client stopped sending inside the body."""

    kind = "request_timeout"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"request body stalled for {timeout_s:g} s")


def message(status: int, text: str) -> Response:
    """Docker's shape of an error: `{"message": text}`."""
    return Response(status=status, body=msgspec.json.encode({"message": text}) + b"\n")


def failure(error: EngineError) -> Response:
    """The answer to a failed request."""
    status = STATUS.get(error.kind, 500)
    if status in BODYLESS:
        return Response(status=status)
    if isinstance(error, ClientTooOld):
        return Response(status=status, body=f"{error}\n".encode(), content_type="text/plain; charset=utf-8")
    return message(status, _encodable(str(error)))


def _encodable(text: str) -> str:
    """Lone surrogates (names of files that aren't UTF-8) can't be put into JSON."""
    return text.encode("utf-8", "replace").decode()
