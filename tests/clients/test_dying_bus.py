"""A bus that is killed in the middle of commands, again and again: each is answered, and carried out once."""

import os
import random
import signal
import threading

import pytest
from typing_extensions import override

from daemon.failpoints import VARIABLE
from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS, ROUNDS, DEATHS = 3, 4, 6
SLOW = "*/runtime.*/before=delay:0.02\n*/graph.*/after=delay:0.02\n*_requested/after=delay:0.02\n"
QUIET = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}, "StopSignal": "KILL"}


@pytest.fixture
def engine():
    """An engine whose commands take long enough to be hit."""
    subject = EngineUnderTest()
    try:
        points = subject.directory / "failpoints"
        points.mkdir()
        (points / "plan").write_text(SLOW)
        subject.start(environment={VARIABLE: str(points)})
        subject.load_busybox()
        yield subject
    finally:
        subject.close()


def bus_pid(engine):
    return next((pid for pid, text in engine._processes() if text.split(" ", 1)[0].endswith("nats-server")), 0)


class Client(threading.Thread):
    """Does the same things again and again, and keeps every answer that isn't the expected one."""

    def __init__(self, engine, number):
        super().__init__(daemon=True)
        self._engine, self._number = engine, number
        self.wrong = []
        self.execs = []

    @override
    def run(self):
        for turn in range(ROUNDS):
            name = f"c{self._number}-{turn}"
            self._ask("POST", f"/containers/create?name={name}", 201, QUIET)
            self._ask("POST", f"/containers/{name}/start", 204)
            made = self._ask("POST", "/containers/keeper/exec", 201, {"Cmd": ["sh", "-c", f"echo {name} >>/ran"]})
            self._ask("POST", f"/exec/{made['Id']}/start", 200, {"Detach": True})
            self._ask("POST", "/volumes/create", 201, {"Name": name})
            self._ask("DELETE", f"/volumes/{name}", 204)
            self._ask("DELETE", f"/containers/{name}?force=1", 204)
            self.execs.append(name)

    def _ask(self, method, target, expected, body=None):
        with RawClient(self._engine.socket, 120) as client:
            answer = client.ask(method, target, body)
        if answer.status != expected:
            self.wrong.append((method, target, answer.status, answer.body))
        return answer.json or {}


def test_no_command_is_lost_and_none_is_doubled(engine):
    engine.docker("run", "-d", "--name", "keeper", "--network", "none", "busybox", "sleep", "1000")
    clients = [Client(engine, number) for number in range(CLIENTS)]
    chance, killed = random.Random(1), 0
    for client in clients:
        client.start()
    while killed < DEATHS and any(client.is_alive() for client in clients):
        pid = bus_pid(engine)
        if pid:
            clients[0].join(chance.uniform(0.05, 0.5))
            os.kill(pid, signal.SIGKILL)
            killed += 1
            wait_until(lambda pid=pid: bus_pid(engine) not in (0, pid), "the bus is back", 60)
    for client in clients:
        client.join(240)
    assert killed > 1
    assert [wrong for client in clients for wrong in client.wrong] == []
    expected = sorted(name for client in clients for name in client.execs)
    assert len(expected) == CLIENTS * ROUNDS
    wait_until(lambda: len(engine.out("exec", "keeper", "cat", "/ran").split()) >= len(expected), "all execs ran", 60)
    assert sorted(engine.out("exec", "keeper", "cat", "/ran").split()) == expected
    assert engine.out("ps", "-a", "--format", "{{.Names}}") == "keeper"
    assert engine.out("volume", "ls", "-q") == ""
    engine.docker("rm", "-f", "keeper")
    assert engine.stop() == 0
    assert engine.leftovers() == []
