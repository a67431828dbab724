"""Who must not notice anything: a container that counts, its published port, and containers that end at their time."""

import http.client
import itertools
import os
import random
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from typing_extensions import override

from handlers.kernel import namespaces
from tests.crashing.world import BYSTANDER, World

PORT = 18080
PAUSE_S = 0.05
TIMEOUT_S = 20.0
COUNT = "httpd -p 80 -h /etc; i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"
KEPT_LINES = 3000  # of the output, the newest
ENDERS = ("early", "late")


def make_bystander(world: World) -> None:
    """It counts and serves from now on."""
    host = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": str(PORT)}]}}
    world.container(BYSTANDER, "sh", "-c", COUNT, HostConfig=host)
    world.ask("POST", f"/containers/{BYSTANDER}/start")


class Visitor(threading.Thread):
    """Asks published ports in turn again and again, whatever becomes of the daemon."""

    def __init__(self, namespace: str, ports: Sequence[int] = (PORT,)) -> None:
        super().__init__(daemon=True)
        self._namespace, self._ports = namespace, itertools.cycle(ports)
        self._over = threading.Event()
        self.visits = 0
        self.failures: list[str] = []

    @override
    def run(self) -> None:
        """Until told to stop."""
        handle = os.open(f"/run/netns/{self._namespace}", os.O_RDONLY)
        try:
            namespaces.enter(handle)
        finally:
            os.close(handle)
        while not self._over.wait(PAUSE_S):
            self._visit()

    def _visit(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", next(self._ports), timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/passwd")
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read():
                self.failures.append(f"answered {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()
            self.visits += 1

    def stop(self) -> None:
        """Return when it has ended."""
        self._over.set()
        self.join(2 * TIMEOUT_S)


def make_enders(world: World, chance: random.Random, longest_s: float) -> dict[str, int]:
    """Containers that nobody touches and that end at some time; their exit codes by name."""
    codes = {}
    for name in ENDERS:
        code, life_s = chance.randrange(1, 100), chance.uniform(0.0, 2 * longest_s)
        world.container(name, "sh", "-c", f"sleep {life_s:.2f}; echo end; exit {code}")
        world.ask("POST", f"/containers/{name}/start")
        codes[name] = code
    return codes


def unbroken(world: World) -> str:
    """What is wrong with the bystander's output; "" when each line follows the one before."""
    numbers = [int(line.split()[-1]) for line in lines(world, BYSTANDER, KEPT_LINES)]
    gaps = [(one, other) for one, other in itertools.pairwise(numbers) if other != one + 1]
    return f"the bystander's output has gaps: {gaps[:5]}" if gaps or not numbers else ""


def lines(world: World, name: str, tail: int) -> list[str]:
    """A container's output, each line after the time at which it was written."""
    raw = world.ask("GET", f"/containers/{name}/logs", stdout="1", stderr="1", timestamps="1", tail=str(tail)).body
    found = b""
    while raw:
        length = int.from_bytes(raw[4:8], "big")
        found, raw = found + raw[8 : 8 + length], raw[8 + length :]
    return found.decode().splitlines()


def seconds(stamp: str) -> float:
    """Of a time with nanoseconds, since 1970."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")


def truth_of_end(world: World, inspected: dict[str, Any], code: int, back_s: float, gone_s: float) -> str:
    """What is wrong with the told end of a container that ended by itself; "" when it is the true one.

    `gone_s` to `back_s`: when no daemon ran.
    """
    state, name = inspected["State"], inspected["Name"]
    if state["ExitCode"] != code:
        return f"{name} ended with {code}, told is {state['ExitCode']}"
    end_s, told_s = seconds(lines(world, inspected["Id"], 1)[0].split()[0]), seconds(state["FinishedAt"])
    latest_s = back_s if end_s < gone_s else time.time()
    if not end_s - 0.05 <= told_s <= latest_s:  # the clock of file times is a tick behind
        return f"{name} ended at {end_s}, told is {told_s}, no daemon ran from {gone_s} to {back_s}"
    return ""
