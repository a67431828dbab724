"""Every request that is to change something leaves who really asked, whatever the client says and what comes of it.

The kernel says who; the client's word is kept for the user agent alone.
"""

import base64
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import anyio
import msgspec
import pytest

from daemon.api.refusals import CHANGING, QUERIES
from daemon.api.routes import TABLE
from events.envelope import Actor, Reply
from events.messages.system import CommandRefused
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.engines import EngineUnderTest
from tests.fakes.image_archives import layer

pytestmark = [pytest.mark.root, pytest.mark.slow]

LOGIN = 4242  # who has logged in, whoever they have become since
STRANGER = 54321  # uid and gid of somebody who may use the socket
NO_LOGIN = 4294967295
INTERPRETER = str(Path(sys.executable).resolve())
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
    "X-Remote-User": "root",
    "X-Shiplog-Actor": '{"uid":0}',
    "X-Shiplog-Command": "forged",
    "From": "root@localhost",
}
# asks for what it is told on stdin, each under a user agent of its own, and tells which process it was
PROGRAM = """
import base64, http.client, json, os, socket, sys
told = json.load(sys.stdin)
try:
    with open("/proc/self/loginuid", "w") as file:
        file.write(str(told["login_uid"]))
except OSError:
    pass  # the kernel keeps no audit, or somebody has logged in already
with open("/proc/self/loginuid") as file:
    login_uid = int(file.read())
os.setgroups([])
os.setgid(told["uid"])
os.setuid(told["uid"])
statuses = []
for number, (method, target, body, kind) in enumerate(told["requests"]):
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(told["socket"])
    headers = told["headers"] | {"User-Agent": f"{told['agent']}/{number}"} | ({"Content-Type": kind} if kind else {})
    connection.request(method, target, base64.b64decode(body), headers)
    statuses.append(connection.getresponse().status)
    connection.close()
json.dump({"pid": os.getpid(), "login_uid": login_uid, "statuses": statuses}, sys.stdout)
"""

ROUTES = [(method, pattern) for method, pattern, _ in TABLE if method in CHANGING and pattern not in QUERIES]
REFUSED = [
    *((method, re.sub(r"\{[^}]+\}", "nosuch", pattern), b"{}", "application/json") for method, pattern in ROUTES),
    ("POST", "/containers/create", b"{bad", "application/json"),
    ("POST", "/containers/create", b"{}", "text/plain"),
    ("POST", "/containers/create?name=-", b'{"Image":"busybox"}', "application/json"),
    ("POST", "/v9.99/containers/create", b"{}", "application/json"),
    ("DELETE", "/v1.1/containers/x", b"", ""),
    ("PUT", "/no/such/route", b"", ""),
]
SLEEPER = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}, "StopSignal": "KILL"}
DONE = [
    ("POST", "/containers/create?name=web", json.dumps(SLEEPER).encode(), "application/json"),
    ("POST", "/containers/web/start", b"", ""),
    ("POST", "/containers/web/start", b"", ""),  # it runs: not modified
    ("POST", "/containers/web/exec", b'{"Cmd":["true"]}', "application/json"),
    ("PUT", "/containers/web/archive?path=/tmp", layer("digits"), "application/x-tar"),
    ("POST", "/containers/web/pause", b"", ""),
    ("POST", "/containers/web/unpause", b"", ""),
    ("POST", "/containers/web/kill?signal=WINCH", b"", ""),
    ("POST", "/containers/web/rename?name=shop", b"", ""),
    ("POST", "/containers/shop/restart?t=0", b"", ""),
    ("POST", "/containers/shop/stop", b"", ""),
    ("DELETE", "/containers/shop", b"", ""),
    ("POST", "/volumes/create", b'{"Name":"vol"}', "application/json"),
    ("POST", "/volumes/create", b'{"Name":"vol"}', "application/json"),  # it is there
    ("DELETE", "/volumes/vol", b"", ""),
    ("POST", "/images/busybox/tag?repo=second&tag=1", b"", ""),
    ("DELETE", "/images/second:1", b"", ""),
    ("POST", "/images/create?fromSrc=-&repo=tree&tag=1", layer("digits"), "application/x-tar"),
    ("DELETE", "/images/tree:1", b"", ""),
    ("POST", "/containers/prune", b"", ""),
    ("POST", "/volumes/prune", b"", ""),
    ("POST", "/images/prune", b"", ""),
    ("POST", "/networks/prune", b"", ""),
    ("POST", "/build/prune", b"", ""),
]


class Told(msgspec.Struct, frozen=True):
    """What came of requests by one program."""

    pid: int
    login_uid: int  # of the audit, which stays when the uid changes
    statuses: tuple[int, ...]


def ask(engine, agent, requests, uid) -> Told:
    """Send requests from a process of its own."""
    told = {
        "uid": uid,
        "login_uid": LOGIN,
        "socket": str(engine.socket),
        "agent": agent,
        "headers": FORGED,
        "requests": [
            (method, target, base64.b64encode(body).decode(), kind) for method, target, body, kind in requests
        ],
    }
    command = [INTERPRETER, "-c", PROGRAM]
    result = subprocess.run(command, input=json.dumps(told).encode(), capture_output=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return msgspec.json.decode(result.stdout, type=Told)


@pytest.fixture(scope="module")
def told():
    """All requests, by root and by a stranger, and afterwards the whole log by user agent."""
    engine = EngineUnderTest()
    try:
        engine.start()
        engine.load_busybox()
        engine.directory.chmod(0o711)
        engine.socket.chmod(0o666)
        asked = {
            agent: ask(engine, agent, requests, uid)
            for agent, requests, uid in (
                ("root-refused", REFUSED, 0),
                ("root-done", DONE, 0),
                ("stranger-refused", REFUSED, STRANGER),
                ("stranger-done", DONE, STRANGER),
            )
        }
        assert engine.stop() == 0
        yield asked, anyio.run(events_by_agent, engine)
    finally:
        engine.close()


async def events_by_agent(engine):
    """What each request has left."""
    found = defaultdict(list)
    async with SqliteLog.open(engine.data_root / "log", SystemClock()) as log:
        await log.verify()
        async for recorded in log.read(limit=0):
            if recorded.cause.actor.user_agent:
                found[recorded.cause.actor.user_agent].append(recorded)
    return found


def concluded(events):
    """Whether the outcome is among the events of a request, and which refusals."""
    refusals = [each.event for each in events if isinstance(each.event, CommandRefused)]
    replies = [msgspec.json.decode(each.reply, type=Reply) for each in events if each.reply]
    return refusals, bool(replies) or any(each.event.TYPE == "system.command_satisfied" for each in events)


@pytest.mark.parametrize(
    ("agent", "requests", "uid"),
    [
        ("root-refused", REFUSED, 0),
        ("root-done", DONE, 0),
        ("stranger-refused", REFUSED, STRANGER),
        ("stranger-done", DONE, STRANGER),
    ],
)
def test_it_bears_the_name_that_the_kernel_knows(told, agent, requests, uid):
    asked, events = told
    for number, (method, target, _, _) in enumerate(requests):
        name = f"{agent}/{number}"
        assert events[name], f"{method} {target} ({asked[agent].statuses[number]}) has left nothing"
        expected = Actor(
            kind="unix",
            uid=uid,
            gid=uid,
            pid=asked[agent].pid,
            executable=INTERPRETER,
            login_uid=None if asked[agent].login_uid == NO_LOGIN else asked[agent].login_uid,
            user_agent=name,
        )
        assert {each.cause.actor for each in events[name]} == {expected}, f"{method} {target}"
        assert all(each.cause.command_id not in ("", "forged") for each in events[name])


@pytest.mark.parametrize("agent", ["root-refused", "stranger-refused"])
def test_a_refusal_has_its_reason(told, agent):
    asked, events = told
    for number, (method, target, _, _) in enumerate(REFUSED):
        refusals, satisfied = concluded(events[f"{agent}/{number}"])
        if asked[agent].statuses[number] < 300:
            assert satisfied, f"{method} {target}"
        else:
            assert len(refusals) == 1, f"{method} {target}"
            assert refusals[0].reason, f"{method} {target}"


@pytest.mark.parametrize("agent", ["root-done", "stranger-done"])
def test_what_was_done_has_its_outcome(told, agent):
    asked, events = told
    for number, (method, target, _, _) in enumerate(DONE):
        assert asked[agent].statuses[number] in (200, 201, 204, 304), f"{method} {target}"
        refusals, done = concluded(events[f"{agent}/{number}"])
        assert done, f"{method} {target}"
        if asked[agent].statuses[number] != 304:
            assert refusals == [], f"{method} {target}"
