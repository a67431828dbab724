"""A request that is repeated by its `Idempotency-Key`: the first answer again, also after a crash, and one effect."""

import re
import secrets

import pytest

from daemon.api.refusals import CHANGING, QUERIES
from daemon.api.routes import TABLE
from tests.clients.raw import RawClient
from tests.engines import engine_with_image
from tests.fakes.image_archives import docker_archive, layer, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]

TAR = "application/x-tar"
ARCHIVE = docker_archive(sample("bottom", "top", names=("other:1",)))
TREE = layer("etc/digits")
ROUTES = [(method, pattern) for method, pattern, _ in TABLE if method in CHANGING and pattern not in QUERIES]
SLEEPER = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}, "StopSignal": "KILL"}


@pytest.fixture(scope="module")
def engine():
    """An engine that is killed between a request and its repeat."""
    with engine_with_image() as subject:
        yield subject


class Asked:
    """Requests by keys, and their answers."""

    def __init__(self, engine):
        self._engine, self._prefix = engine, secrets.token_hex(8)
        self._requests = []
        self.answers = []

    def __call__(self, method, target, body=None, **headers):
        self._requests.append((method, target, body, headers))
        self.answers.append(self._ask(len(self._requests) - 1))
        return self.answers[-1]

    def again(self):
        """The answers to all of them, asked once more."""
        return [self._ask(number) for number in range(len(self._requests))]

    def _ask(self, number):
        method, target, body, headers = self._requests[number]
        with RawClient(self._engine.socket, 60) as client:
            return client.ask(method, target, body, idempotency_key=f"{self._prefix}-{number}", **headers)


def shown(answers):
    return [(answer.status, answer.body) for answer in answers]


def example(pattern):
    return re.sub(r"\{[^}]+\}", "nosuch", pattern)


def test_what_every_route_refuses_it_refuses_again(engine):
    asked = Asked(engine)
    for method, pattern in ROUTES:
        asked(method, example(pattern), {} if method == "POST" else None)
    assert shown(asked.again()) == shown(asked.answers)
    engine.restart()
    assert shown(asked.again()) == shown(asked.answers)


def test_what_was_done_is_not_done_again(engine):
    asked = Asked(engine)
    made = asked("POST", "/containers/create?name=web", SLEEPER).json["Id"]
    asked("POST", "/containers/web/start")
    command = asked("POST", "/containers/web/exec", {"Cmd": ["sh", "-c", "echo ran >>/ran"]}).json["Id"]
    asked("POST", f"/exec/{command}/start", {"Detach": True})
    asked("PUT", "/containers/web/archive?path=/tmp", TREE, content_type=TAR)
    asked("POST", "/containers/web/pause")
    asked("POST", "/containers/web/unpause")
    asked("POST", "/containers/web/kill?signal=WINCH")
    asked("POST", "/containers/web/rename?name=shop")
    asked("POST", "/containers/shop/restart?t=0")
    asked("POST", "/containers/shop/stop")
    asked("POST", "/containers/create?name=brief", SLEEPER)
    asked("DELETE", "/containers/brief")
    asked("POST", "/volumes/create", {"DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}})
    asked("POST", "/volumes/create", {"Name": "brief"})
    asked("DELETE", "/volumes/brief")
    asked("POST", "/images/load", ARCHIVE, content_type=TAR)
    asked("POST", "/images/create?fromSrc=-&repo=tree&tag=1", TREE, content_type=TAR)
    asked("POST", "/images/busybox/tag?repo=second&tag=1")
    asked("DELETE", "/images/second:1")
    asked("POST", "/containers/prune")
    assert [answer for answer in asked.answers if not 200 <= answer.status < 300] == []
    before = state(engine)
    assert shown(asked.again()) == shown(asked.answers)
    engine.restart()
    assert shown(asked.again()) == shown(asked.answers)
    assert state(engine) == before
    assert made not in engine.out("ps", "-aq", "--no-trunc")


def state(engine):
    """Everything that there is, but for what an inspection measures anew."""
    with RawClient(engine.socket) as client:
        asked = ("/containers/json?all=1", "/volumes", "/images/json?all=1")
        return [client.ask("GET", target).json for target in asked]


def test_a_key_is_for_one_request(engine):
    with RawClient(engine.socket) as client:
        first = client.ask("POST", "/volumes/create", {"Name": "one"}, idempotency_key="same")
        other = client.ask("POST", "/volumes/create", {"Name": "two"}, idempotency_key="same")
        bad = client.ask("POST", "/volumes/create", {"Name": "two"}, idempotency_key="x" * 256)
    assert (first.status, other.status, bad.status) == (201, 422, 400)
    assert other.message == "this Idempotency-Key was used for another request"
    assert "two" not in engine.out("volume", "ls", "-q").split()
