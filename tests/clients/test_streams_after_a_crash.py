"""Attach, logs, wait and exec when the daemon dies under them: the connection is lost, nothing else."""

import subprocess
from pathlib import Path

import pytest

from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]
LOST_S = 10.0
ECHO = 'while read word; do [ "$word" = quit ] && exit 4; echo "got $word"; done'


@pytest.fixture(scope="module")
def engine():
    """An engine that is killed often."""
    subject = EngineUnderTest()
    try:
        subject.start()
        subject.load_busybox()
        yield subject
        ids = subject.out("ps", "-aq").split()
        subject.docker("rm", "-f", *ids)
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()


def say(process: subprocess.Popen[bytes], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())
    process.stdin.flush()


def ends(process: subprocess.Popen[bytes]) -> int:
    """Its exit status, without waiting for what it still has to say."""
    return process.wait(LOST_S)


def test_attach_goes_on_with_a_new_connection(engine):
    engine.docker("run", "-di", "--name", "echo", "busybox", "sh", "-c", ECHO)
    with engine.popen("attach", "echo") as first:
        say(first, "one")
        assert first.stdout.readline() == b"got one\n"
        engine.kill()
        ends(first)
    engine.start()
    with engine.popen("wait", "echo") as waiting, engine.popen("attach", "echo") as second:
        say(second, "two")
        assert second.stdout.readline() == b"got two\n"
        say(second, "quit")
        assert second.stdout.read() == b""
        assert ends(second) == 4
        assert waiting.stdout.read() == b"4\n"
    assert engine.out("logs", "echo") == "got one\ngot two"


def test_logs_that_are_followed_go_on_without_a_gap(engine):
    count = "i=0; while [ ! -e /end ]; do i=$((i+1)); echo $i; usleep 2000; done"
    engine.docker("run", "-d", "--name", "count", "busybox", "sh", "-c", count)
    with engine.popen("logs", "-f", "count") as first:
        assert first.stdout.readline() == b"1\n"
        engine.kill()
        ends(first)
        seen = [1, *map(int, first.stdout.read().split())]
    engine.start()
    with engine.popen("logs", "-f", "count") as second:
        again = [int(second.stdout.readline()) for _ in range(len(seen) + 20)]
        engine.docker("exec", "count", "touch", "/end")
        again += map(int, second.stdout.read().split())
    assert seen == list(range(1, len(seen) + 1))
    assert again == list(range(1, len(again) + 1))


def test_wait_is_lost_with_the_daemon_and_answered_by_the_next(engine):
    engine.docker("run", "-di", "--name", "ended", "busybox", "sh", "-c", ECHO)
    with engine.popen("attach", "ended") as attached, engine.popen("wait", "ended") as waiting:
        say(attached, "one")
        assert attached.stdout.readline() == b"got one\n"
        engine.kill()
        assert ends(waiting) != 0
        ends(attached)
    engine.start()
    with engine.popen("attach", "ended") as attached:
        say(attached, "quit")
        ends(attached)
    assert engine.out("wait", "ended") == "4"


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("ends_while_dead", [False, True])
def test_an_exec_goes_on_and_its_exit_code_is_known(engine, attached, ends_while_dead):
    name = f"host-{attached}-{ends_while_dead}"
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    script = "touch /began; until [ -e /end ]; do usleep 10000; done; echo over; exit 9"
    flags = () if attached else ("-d",)
    with engine.popen("exec", *flags, name, "sh", "-c", script) as client:
        root = Path(f"/proc/{engine.inspect(name)['State']['Pid']}/root")
        wait_until((root / "began").exists, "it runs")
        (exec_id,) = engine.inspect(name)["ExecIDs"]
        engine.kill()
        ends(client)
    running = len(monitors(engine))
    if ends_while_dead:
        (root / "end").touch()
        wait_until(lambda: len(monitors(engine)) == running - 1, "its monitor has ended")
    engine.start()
    if not ends_while_dead:
        assert state_of(engine, exec_id) == (True, None)
        engine.docker("exec", name, "touch", "/end")
    wait_until(lambda: state_of(engine, exec_id) == (False, 9), "its exit code is known")


def monitors(engine: EngineUnderTest) -> list[int]:
    """One for each process of a container."""
    return [pid for pid, arguments in engine._processes() if arguments.split()[0].endswith("conmon")]


def state_of(engine: EngineUnderTest, exec_id: str) -> tuple[bool, int | None]:
    with RawClient(engine.socket) as client:
        found = client.ask("GET", f"/exec/{exec_id}/json").json
    return found["Running"], found["ExitCode"]
