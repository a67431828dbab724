"""Complete answers as Docker sends them; every endpoint ends here."""

from collections.abc import Iterable

import msgspec

from daemon.http.messages import Response
from daemon.shapes.go_values import JsonObject

_ENCODER = msgspec.json.Encoder()
RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"


def json_line(value: object) -> bytes:
    """A value as one line of JSON."""
    return _ENCODER.encode(value) + b"\n"


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(status=status, headers=headers or {}, body=json_line(value))


def as_lines(values: Iterable[JsonObject], headers: dict[str, str] | None = None) -> Response:
    """An answer that is a stream of JSON objects in Docker, here complete."""
    return Response(headers=headers or {}, body=b"".join(map(json_line, values)))


def empty(status: int = 204, headers: dict[str, str] | None = None) -> Response:
    """An answer without a body."""
    return Response(status=status, headers=headers or {})


def stream_type(version: tuple[int, int], *, is_terminal: bool) -> str:
    """Content type of a process's output; below 1.42 frames went by the name of raw bytes too."""
    return RAW_STREAM if is_terminal or version < (1, 42) else MULTIPLEXED_STREAM
