"""What a runtime says when it can't make a process, in the words and with the exit codes that Docker gives it."""

from handlers.exec.ports import StartError

_NOT_FOUND = ("no such file or directory", "executable file not found")
_NOT_EXECUTABLE = ("permission denied", "is a directory", "not a directory")
_CREATE_PREFIX = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_EXEC_PREFIX = "OCI runtime exec failed: "


def of_create(said: str) -> StartError:
    """A first process that couldn't be made."""
    return StartError(_CREATE_PREFIX + _clean(said), exit_code(said))


def of_exec(said: str) -> StartError:
    """An exec that couldn't be made."""
    return StartError(f"{_EXEC_PREFIX}{_clean(said)}: unknown", exit_code(said))


def exit_code(said: str) -> int:
    """127 not found, 126 found and not executable, 128 anything else: runtimes tell it in words only."""
    text = said.lower()
    if any(word in text for word in _NOT_FOUND):
        return 127
    return 126 if any(word in text for word in _NOT_EXECUTABLE) else 128


def _clean(said: str) -> str:
    """runc's text may end in a newline, or be its log line: time="..." level=error msg="..."."""
    text = said.strip()
    _, marker, rest = text.partition('level=error msg="')
    return rest.removesuffix('"').replace('\\"', '"') if marker else text or "the runtime gave no reason"
