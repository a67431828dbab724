"""Notes which files are touched, and from which thread; without it a test couldn't tell that the event loop was spared.

Source: https://docs.python.org/3/library/audit_events.html. A hook stays for the life of the process: there is one.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Touch(msgspec.Struct, frozen=True, kw_only=True):
    """One call that got as far as the interpreter's audit."""

    event: str  # "open", "os.remove", "os.rmdir", "os.scandir" ...
    path: str
    in_main_thread: bool


_listening: list[list[Touch]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _listening and arguments and (event == "open" or event.startswith(("os.", "shutil."))):
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike):
            main = threading.current_thread() is threading.main_thread()
            touch = Touch(event=event, path=os.fsdecode(path), in_main_thread=main)
            for listener in _listening:
                listener.append(touch)


sys.addaudithook(_hook)


@contextmanager
def touches(below: Path) -> Iterator[list[Touch]]:
    """While entered, calls on what is below a directory are noted; the list is complete afterwards."""
    noted: list[Touch] = []
    _listening.append(noted)
    try:
        yield noted
    finally:
        _listening.remove(noted)
        noted[:] = [touch for touch in noted if Path(touch.path).is_relative_to(below)]
