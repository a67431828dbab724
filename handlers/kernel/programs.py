"""Small programs of the host, run to their end; without it every driver would word their failures in its own way."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from events.errors import SystemFailure

LIMIT_S = 120.0
_END_S = 5.0
_EMPTY_END = "Command failed.\n"  # dmsetup's last line, whatever it had to say
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProgramFailed(SystemFailure):
    """A program that refused; `why` in its own last line."""

    def __init__(self, command: Sequence[str], why: str) -> None:
        self.why = why
        super().__init__(f"{Path(command[0]).name} {' '.join(command[1:3])}: {why}")


def find_program(name: str) -> str:
    """Its absolute path; "" when the host has none."""
    return shutil.which(name, path=SEARCH_PATH) or ""


def run_program(
    command: Sequence[str],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = LIMIT_S,
) -> str:
    """What a program prints. Blocks. Raises ProgramFailed, also when it takes too long."""
    settings = {**environment, "PATH": SEARCH_PATH, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise ProgramFailed(command, str(error.strerror)) from error
    try:
        printed, complained = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _give_up(process)
        raise ProgramFailed(command, f"it took longer than {timeout_s:.0f} s") from error
    if process.returncode:
        said = complained.decode(errors="replace").removesuffix(_EMPTY_END).strip().splitlines()
        raise ProgramFailed(command, said[-1] if said else f"exit status {process.returncode}")
    return printed.decode(errors="replace")


def _give_up(process: "subprocess.Popen[bytes]") -> None:
    """Kill it; one that waits for a file system which doesn't answer isn't waited for."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_END_S)
