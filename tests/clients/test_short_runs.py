"""Processes that end while somebody asks about them: what SDKs do in a row must not depend on who is faster."""

import contextlib

import pytest

from tests.clients.raw import RawClient, dial, read_all

pytestmark = pytest.mark.root

ROUNDS = 8


@pytest.fixture
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection
        connection.ask("DELETE", "/containers/brief?force=1")


def create(client, command: list[str], **host: object) -> None:
    body = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"} | host}
    assert client.ask("POST", "/containers/create?name=brief", body).status == 201


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_no_patience_with_a_process_that_ends_at_once(client, verb):
    create(client, ["sleep", "600"], Init=True)
    for _ in range(ROUNDS):
        assert client.ask("POST", "/containers/brief/start").status in (204, 304)
        answer = client.ask("POST", f"/containers/brief/{verb}?t=0")
        assert (answer.status, answer.body) == (204, b"")
    state = client.ask("GET", "/containers/brief/json").json["State"]
    assert state["Running"] == (verb == "restart")


@pytest.mark.parametrize("removed", [True, False])
def test_output_that_is_followed_when_its_process_may_have_ended(engine, client, removed):
    """docker-py's `containers.run`: start, follow the logs, wait, remove, and read only then."""
    for _ in range(ROUNDS):
        create(client, ["echo", "hello"])
        assert client.ask("POST", "/containers/brief/start").status == 204
        with contextlib.closing(dial(engine.socket)) as follower:
            request = b"GET /containers/brief/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            follower.sendall(request)
            head = follower.recv(12)
            assert client.ask("POST", "/containers/brief/wait").json["StatusCode"] == 0
            if removed:
                assert client.ask("DELETE", "/containers/brief").status == 204
            assert b"\x01\x00\x00\x00\x00\x00\x00\x06hello\n" in head + read_all(follower)
        if not removed:
            assert client.ask("DELETE", "/containers/brief").status == 204
