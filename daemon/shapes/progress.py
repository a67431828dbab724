"""Progress as Docker's clients draw it: one JSON object a line, with a bar for those that don't draw their own.

The bar's form is that of Docker's jsonmessage: `[==>      ]  1.5MB/3MB`.
"""

from daemon.shapes.go_values import JsonObject
from handlers.progress import Exit, Line, Made, Note, Text

_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def line(told: Line) -> JsonObject | None:
    """A line of progress, or of what came of it; None for what is said with the end."""
    match told:
        case Text(text=text):
            return {"stream": text}
        case Made(image_id=image_id):
            return {"aux": {"ID": image_id}}
        case Exit():
            return None
        case Note():
            return _note(told)


def _note(note: Note) -> JsonObject:
    if note.result is not None:
        result = note.result
        aux = {"Tag": result.tag, "Digest": result.digest, "Size": result.size_bytes}
        return {"progressDetail": {}, "aux": aux}
    shape: JsonObject = {"status": note.status}
    if note.has_detail:
        detail = {"current": note.current_bytes, "total": note.total_bytes} if note.total_bytes else {}
        shape["progressDetail"] = detail
        if detail:
            shape["progress"] = bar(note.current_bytes, note.total_bytes)
    return shape | ({"id": note.subject} if note.subject else {})


def failure(text: str, code: int = 0) -> JsonObject:
    """The last line of a stream that failed; `code` is the status of the process that has failed, if it was one."""
    return {"errorDetail": ({"code": code} if code else {}) | {"message": text}, "error": text}


def bar(current_bytes: int, total_bytes: int) -> str:
    """How much of the whole, drawn and in numbers."""
    filled = min(_WIDTH, current_bytes * _WIDTH // total_bytes)
    drawn = "=" * filled + ">" * (filled < _WIDTH) + " " * (_WIDTH - filled - 1)
    return f"[{drawn}]  {human(current_bytes)}/{human(total_bytes)}"


def human(size_bytes: int) -> str:
    """As go-units writes sizes: four digits that count."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"
