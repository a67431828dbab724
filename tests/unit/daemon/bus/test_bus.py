"""Commands over a real nats-server, also when it dies under them."""

import os
import shutil
import signal
import socket
import stat
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec
import pytest

from daemon.bus.client import MAXIMUM_COMMAND_BYTES, Bus
from daemon.bus.server import BusServer
from events.envelope import ENGINE, Cause, Failure, Reply
from events.errors import Conflict, InvalidParameter, SystemFailure, Unavailable
from events.messages.container import RecordAccess
from events.messages.layer import AppliedLayer, ApplyLayer

PROGRAM = shutil.which("nats-server") or "nats-server"
CAUSE = Cause(actor=ENGINE, command_id="test", correlation_id="test")
ACCESS = RecordAccess(container="web", action="top")


@asynccontextmanager
async def bus(directory):
    server = BusServer(PROGRAM, directory)
    await server.start()
    try:
        async with anyio.create_task_group() as tasks, Bus("test") as client:
            await client.connect(server.url, server.token)
            tasks.start_soon(server.supervise, client.move)
            yield server, client
            tasks.cancel_scope.cancel()
    finally:
        await server.stop()


async def test_answers_have_their_type(tmp_path):
    async def handle(envelope):
        assert envelope.type == "layer.apply"
        return Reply(sequence=3, answer=msgspec.Raw(b'{"chain_id":"c","diff_id":"d","size_bytes":7}'))

    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            await client.serve(handle)
            answer = await client.request(ApplyLayer(path="/x", holder="h"), command_id="1", cause=CAUSE)
    assert answer == (AppliedLayer(chain_id="c", diff_id="d", size_bytes=7), 3)


async def test_errors_have_their_kind(tmp_path):
    async def handle(_):
        return Reply(failure=Failure(kind="conflict", message="taken"))

    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            await client.serve(handle)
            with pytest.raises(Conflict, match=r"^taken$"):
                await client.send(ACCESS, command_id="1", cause=CAUSE)


async def test_a_slow_command_holds_up_no_other(tmp_path):
    gate = anyio.Event()

    async def handle(envelope):
        if envelope.id == "slow":
            await gate.wait()
        return Reply()

    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            await client.serve(handle)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.send(ACCESS, command_id="slow", cause=CAUSE))
                await client.send(ACCESS, command_id="quick", cause=CAUSE)
                gate.set()


async def test_a_server_that_dies_under_a_command_loses_nothing(tmp_path):
    runs: dict[str, int] = {}
    entered, gate = anyio.Event(), anyio.Event()

    async def handle(envelope):
        runs[envelope.id] = runs.get(envelope.id, 0) + 1
        entered.set()
        await gate.wait()
        return Reply()

    with anyio.fail_after(20):
        async with bus(tmp_path / "bus") as (server, client):
            await client.serve(handle)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.send(ACCESS, command_id="under", cause=CAUSE))
                await entered.wait()
                killed = server.pid
                os.kill(killed, signal.SIGKILL)
                tasks.start_soon(lambda: client.send(ACCESS, command_id="during", cause=CAUSE))
                while "during" not in runs:
                    await anyio.sleep(0.01)
                gate.set()
            assert server.pid != killed
            assert runs == {"under": 1, "during": 1}


@pytest.mark.parametrize("login", ["{}", '{"auth_token":"guess"}'])
async def test_nobody_else_on_the_machine_gets_in(tmp_path, login):
    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (server, _):
            port = int(server.url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(f"CONNECT {login}\r\nPING\r\n".encode())
                answer = b""
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        answer += await stream.receive()
    assert b"Authorization Violation" in answer
    assert b"PONG" not in answer
    assert stat.S_IMODE((tmp_path / "bus").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "bus" / "nats-server.conf").stat().st_mode) == 0o600


async def test_the_credential_is_in_no_argument(tmp_path):
    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (server, _):
            for name in ("cmdline", "environ"):
                content = await anyio.Path(f"/proc/{server.pid}/{name}").read_bytes()
                assert server.token.encode() not in content


async def test_a_command_that_is_too_large_is_refused_before_it_is_sent(tmp_path):
    huge = RecordAccess(container="web", action="x" * MAXIMUM_COMMAND_BYTES)
    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            with pytest.raises(InvalidParameter, match="the request is too large"):
                await client.send(huge, command_id="1", cause=CAUSE)


async def test_a_cancelled_owner_closes_the_connection(tmp_path):
    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            assert client._client.is_connected
    assert client._client.is_closed


async def test_an_answer_that_is_too_large_is_an_error_and_no_end(tmp_path):
    async def handle(envelope):
        large = envelope.id == "large"
        return Reply(failure=Failure(kind="conflict", message="x" * MAXIMUM_COMMAND_BYTES if large else "small"))

    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            await client.serve(handle)
            with pytest.raises(SystemFailure, match="is too large to be sent"):
                await client.send(ACCESS, command_id="large", cause=CAUSE)
            with pytest.raises(Conflict, match="small"):
                await client.send(ACCESS, command_id="small", cause=CAUSE)


async def test_a_killed_predecessors_server_is_ended(tmp_path):
    first, second = BusServer(PROGRAM, tmp_path / "bus"), BusServer(PROGRAM, tmp_path / "bus")
    with anyio.fail_after(10):
        await first.start()
        ended = os.pidfd_open(first.pid)
        try:
            await second.start()
            await anyio.wait_readable(ended)
        finally:
            os.close(ended)
            await first.stop()
            await second.stop()


async def test_a_program_that_is_no_server_is_told(tmp_path):
    with anyio.fail_after(15), pytest.raises(Unavailable, match="did not start"):
        await BusServer("/bin/false", tmp_path / "bus").start()


async def test_it_is_idle_when_the_last_command_is_answered(tmp_path):
    entered, gate = anyio.Event(), anyio.Event()

    async def handle(_):
        entered.set()
        await gate.wait()
        return Reply()

    with anyio.fail_after(10):
        async with bus(tmp_path / "bus") as (_, client):
            await client.serve(handle)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.send(ACCESS, command_id="1", cause=CAUSE))
                await entered.wait()
                assert not await client.idle(0.01)
                gate.set()
                assert await client.idle(5)


# nats-py leaves its connection to the thief for the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_port_that_was_taken_meanwhile_costs_nothing(tmp_path):
    async def handle(_):
        return Reply()

    with anyio.fail_after(20):
        async with bus(tmp_path / "bus") as (server, client):
            await client.serve(handle)
            port = int(server.url.rpartition(":")[2])
            os.kill(server.pid, signal.SIGKILL)
            with socket.socket() as thief:
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                while not _bound(thief, port):
                    await anyio.sleep(0.001)
                await client.send(ACCESS, command_id="1", cause=CAUSE)
            assert int(server.url.rpartition(":")[2]) != port


def _bound(thief: socket.socket, port: int) -> bool:
    try:
        thief.bind(("127.0.0.1", port))
    except OSError:
        return False
    thief.listen()
    return True
