"""What a runtime says when it can't make a process, in the words and with the exit codes that Docker gives it.

It quotes the command, and who knows what else of a specification that holds secrets. So the log gets words of our own
choice alone: which step failed, and which errno it names.
"""

import errno
import os

from handlers.exec.drivers import monitor
from handlers.exec.ports import StartError

_NOT_FOUND = ("no such file or directory", "executable file not found")
_NOT_EXECUTABLE = ("permission denied", "is a directory", "not a directory")
_CREATE_PREFIX = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_EXEC_PREFIX = "OCI runtime exec failed: "
# Steps, as runc and crun name them; of several the first here counts.
_STEPS = (
    *("chdir to cwd", "error mounting", "error setting rlimit", "unable to apply caps", "seccomp", "apparmor"),
    *("cgroup", "sysctl", "capset", "setgroups", "setuid", "oom_score_adj", "hook", "mount", "exec: ", "executable"),
)
_NO_FILE_IN_PATH = "executable file not found in $PATH"
_REASONS = (
    _NO_FILE_IN_PATH,
    "is not in a separate kernel namespace",
    monitor.NO_WORD,
    *sorted({os.strerror(number).lower() for number in errno.errorcode}),
)
_NO_STEP, _NO_REASON = "the runtime", "why was told to the client alone"


def of_create(said: str) -> StartError:
    """A first process that couldn't be made."""
    return StartError(_CREATE_PREFIX + _clean(said), exit_code(said), recorded=_CREATE_PREFIX + _class_of(said))


def of_exec(said: str) -> StartError:
    """An exec that couldn't be made."""
    return StartError(
        f"{_EXEC_PREFIX}{_clean(said)}: unknown", exit_code(said), recorded=f"{_EXEC_PREFIX}{_class_of(said)}: unknown"
    )


def exit_code(said: str) -> int:
    """127 not found, 126 found and not executable, 128 anything else: runtimes tell it in words only."""
    text = said.lower()
    if any(word in text for word in _NOT_FOUND):
        return 127
    return 126 if any(word in text for word in _NOT_EXECUTABLE) else 128


def _class_of(said: str) -> str:
    """The step and the reason: the one told last is the cause of the others."""
    text = said.lower()
    step = next((step for step in _STEPS if step in text), _NO_STEP)
    ends = {reason: text.rfind(reason.lower()) + len(reason) for reason in _REASONS if reason.lower() in text}
    return f"{step.rstrip(': ')}: {max(ends, key=lambda reason: ends[reason], default=_NO_REASON)}"


def _clean(said: str) -> str:
    """runc's text may end in a newline, or be its log line: time="..." level=error msg="..."."""
    text = said.strip()
    _, marker, rest = text.partition('level=error msg="')
    return rest.removesuffix('"').replace('\\"', '"') if marker else text or "the runtime gave no reason"
