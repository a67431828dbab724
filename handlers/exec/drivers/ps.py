"""Runs the host's `ps`; `docker top` with arguments of its own can be answered by nothing else."""

from collections.abc import Sequence
from typing import Final

import anyio

from events.errors import DeadlineExceeded, SystemFailure

_TIMEOUT_S: Final = 10.0


class ProcessTable:
    """`ps` of procps, found once."""

    def __init__(self, program: str = "ps") -> None:
        self._program = program

    async def __call__(self, arguments: Sequence[str]) -> str:
        """What it prints. Raises SystemFailure with its own words, DeadlineExceeded."""
        try:
            with anyio.fail_after(_TIMEOUT_S):
                done = await anyio.run_process([self._program, *arguments], check=False)
        except TimeoutError as error:
            raise DeadlineExceeded("ps took too long") from error
        except OSError as error:
            raise SystemFailure(f"ps can't be run: {error.strerror} (Debian package procps)") from error
        except ValueError as error:  # a NUL byte
            raise SystemFailure(f"ps: {error}") from error
        if done.returncode != 0:
            complaint = done.stderr.decode(errors="replace").strip().splitlines()
            raise SystemFailure(f"ps: {complaint[0].removeprefix('ps: ')}" if complaint else "ps failed")
        return done.stdout.decode(errors="replace")
