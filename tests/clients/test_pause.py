"""A pause that meets an exec which is about to start: neither holds the other up."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients.raw import Answer, RawClient

pytestmark = pytest.mark.root
LIMIT_S = 15.0
LEADS_S = [0.002 * step for step in range(16)]  # a runtime takes some 20 ms for an exec


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket, LIMIT_S) as connection:
        yield connection


@pytest.fixture
def web(engine, client):
    body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
    container_id = client.ask("POST", "/containers/create", body).json["Id"]
    assert client.ask("POST", f"/containers/{container_id}/start").status == 204
    yield container_id
    assert client.ask("DELETE", f"/containers/{container_id}?force=1").status == 204


def test_neither_waits_for_the_other(engine, client, web):
    def start(exec_id: str) -> Answer:
        with RawClient(engine.socket, LIMIT_S) as other:
            return other.ask("POST", f"/exec/{exec_id}/start", {"Detach": True})

    with ThreadPoolExecutor(1) as pool:
        for lead_s in LEADS_S:
            exec_id = client.ask("POST", f"/containers/{web}/exec", {"Cmd": ["true"]}).json["Id"]
            started = pool.submit(start, exec_id)
            time.sleep(lead_s)
            assert client.ask("POST", f"/containers/{web}/pause").status == 204
            answer = started.result(LIMIT_S)
            assert answer.status in (200, 204) or "is paused, unpause the container before exec" in answer.message
            assert client.ask("POST", f"/containers/{web}/unpause").status == 204
