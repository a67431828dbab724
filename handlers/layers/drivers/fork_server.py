"""The program that has the programs for layers loaded and forks one for each layer; without it an image of forty small
layers would cost forty starts of an interpreter.

It looks into no layer itself: the process that does is a fork that confines itself as always. Standard input: lines of
JSON, `{"id", "program", "request"}` to run one, `{"id"}` to give up. Standard output: a line for each end, `{"id",
"code", "output"}`. It ends with its standard input, and its forks with it.
"""

import json
import os
import selectors
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from handlers.kernel import confinement
from handlers.layers.drivers import repack, unpack

_READ_BYTES = 64 * 1024
_NICENESS = 5  # several unpack at once: who asks the engine something comes first
_PROGRAMS = {"repack": repack.carry_out, "unpack": unpack.carry_out}


class Job:
    """One fork and what it has said."""

    def __init__(self, number: int, pid: int) -> None:
        self.number, self.pid = number, pid
        self.output = bytearray()


class Server:
    """Runs until its input ends."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._jobs: dict[int, Job] = {}  # by the descriptor that its output comes from
        self._input = bytearray()

    def run(self) -> None:
        """Take requests and hand out answers."""
        self._selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd != 0:
                    self._hear(key.fd)
                elif not self._take():
                    return

    def _take(self) -> bool:
        """Read requests; False at the end of the input."""
        data = os.read(0, _READ_BYTES)
        self._input += data
        *lines, rest = self._input.split(b"\n")
        self._input = bytearray(rest)
        for line in lines:
            message = json.loads(line)
            if "request" in message:
                self._begin(message["id"], message["program"], message["request"])
            else:
                self._give_up(message["id"])
        return bool(data)

    def _begin(self, number: int, program: str, request: dict[str, Any]) -> None:
        reader, writer = os.pipe()
        request["parent_pid"] = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(program, request, writer)
        os.close(writer)
        self._jobs[reader] = Job(number, pid)
        self._selector.register(reader, selectors.EVENT_READ)

    def _be_child(self, program: str, request: dict[str, Any], writer: int) -> NoReturn:
        """Nothing of the server's is in the reach of what looks into a layer."""
        code = 1
        try:
            self._selector.close()
            for descriptor in self._jobs:
                os.close(descriptor)
            empty = os.open(os.devnull, os.O_RDONLY)
            os.dup2(empty, 0)
            os.dup2(writer, 1)
            os.close(empty)
            os.close(writer)
            _PROGRAMS[program](request)
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must never come back into the server's loop
            traceback.print_exc()
        finally:
            os._exit(code)

    def _hear(self, descriptor: int) -> None:
        job = self._jobs[descriptor]
        data = os.read(descriptor, _READ_BYTES)
        if data:
            job.output += data
            return
        self._selector.unregister(descriptor)
        os.close(descriptor)
        del self._jobs[descriptor]
        _, status = os.waitpid(job.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = {"id": job.number, "code": code, "output": job.output.decode(errors="replace")}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer

    def _give_up(self, number: int) -> None:
        for job in self._jobs.values():
            if job.number == number:
                with suppress(ProcessLookupError):
                    os.kill(job.pid, signal.SIGKILL)


def main() -> None:
    """Serve the process that is named by its pid."""
    confinement.die_with_parent(int(sys.argv[1]))
    os.nice(_NICENESS)
    unpack.load_codecs()
    Server().run()


if __name__ == "__main__":
    main()
