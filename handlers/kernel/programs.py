"""Small programs of the host, run to their end; without it every driver would word their failures in its own way."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from events.errors import SystemFailure

LIMIT_S = 120.0
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
        done = subprocess.run(
            command,
            cwd=directory,
            env=settings,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(command, f"it took longer than {timeout_s:.0f} s") from error
    except OSError as error:
        raise ProgramFailed(command, str(error.strerror)) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").removesuffix(_EMPTY_END).strip().splitlines()
        raise ProgramFailed(command, said[-1] if said else f"exit status {done.returncode}")
    return done.stdout.decode(errors="replace")
