"""Files that are checked side by side: what is told, in which order, and that nothing is left of it."""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from clients.verifier.file_check import Checked
from clients.verifier.processes import each, processors
from clients.verifier.records import AuditFailed, Beginning
from tests.engines import ROOT, wait_until

FORK = multiprocessing.get_context("fork")
PATHS = [Path(name) for name in ("a", "b", "c", "d")]
PATIENCE_S = 30.0


def checked(path: Path) -> Checked:
    return Checked(Beginning(path.name, (), 0, b"", b""), sequence=os.getpid())


@pytest.mark.parametrize("at_once", [1, 2, 4, 9])
def test_files_are_told_in_their_order_whichever_is_done_first(at_once: int) -> None:
    later_done = FORK.Event()

    def check(path: Path) -> Checked:
        if path == PATHS[0] and at_once > 1:
            assert later_done.wait(PATIENCE_S)
        later_done.set()
        return checked(path)

    found = list(each(check, PATHS, at_once))
    assert [one.start.log for one in found] == ["a", "b", "c", "d"]
    assert len({one.sequence for one in found} - {os.getpid()}) == (4 if at_once > 1 else 0)


@pytest.mark.parametrize("error", [AuditFailed("b: damaged"), OSError(28, "No space left on device", "b")])
@pytest.mark.parametrize("at_once", [1, 2])
def test_what_is_wrong_with_a_file_is_told_when_its_turn_comes(error: Exception, at_once: int) -> None:
    def check(path: Path) -> Checked:
        if path == PATHS[1]:
            raise error
        return checked(path)

    with closing(each(check, PATHS, at_once)) as found:
        assert next(found).start.log == "a"
        with pytest.raises(type(error)) as raised:
            next(found)
    assert str(raised.value) == str(error)


def test_a_process_that_was_killed_is_told() -> None:
    def check(path: Path) -> Checked:
        if path == PATHS[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return checked(path)

    with pytest.raises(AuditFailed, match="b: the process that checked it ended with -9"):
        list(each(check, PATHS, 2))


def test_closed_early_it_ends_what_is_under_way() -> None:
    begun, never = FORK.Event(), FORK.Event()

    def check(path: Path) -> Checked:
        if path == PATHS[0]:
            assert begun.wait(PATIENCE_S)
            raise AuditFailed("a: damaged")
        begun.set()
        never.wait()
        return checked(path)

    with closing(each(check, PATHS, 2)) as found, pytest.raises(AuditFailed, match="a: damaged"):
        next(found)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("whole_group", [True, False])
def test_interrupted_it_ends_at_once_and_leaves_nothing(tmp_path: Path, whole_group: bool) -> None:
    log, room = tmp_path / "log", tmp_path / "room"
    log.mkdir()
    room.mkdir()
    with ExitStack() as stack:
        for number in (1, 2, 3):
            archive = log / f"log-{number}.sqlite.zst"
            os.mkfifo(archive)
            stack.callback(os.close, os.open(archive, os.O_RDWR))  # who reads it waits
        audit = subprocess.Popen(
            [sys.executable, "-m", "clients.verifier", str(log)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(room)},
            start_new_session=True,
        )
        stack.callback(audit.kill)
        wait_until(lambda: len(list(room.rglob("log.sqlite"))) == min(3, processors()), "files under way")
        (os.killpg if whole_group else os.kill)(audit.pid, signal.SIGINT)
        _, told = audit.communicate(timeout=PATIENCE_S)
    assert (audit.returncode, told) == (130, "shiplog-audit: interrupted\n")
    assert list(room.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(audit.pid, 0)
