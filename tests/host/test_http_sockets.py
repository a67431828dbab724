"""Who is at the other end, and who may be: needs root to become somebody else."""

import grp
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.http.peer import unix_actor
from daemon.http.sockets import Listener, Opening, open_listeners

pytestmark = pytest.mark.root

NOBODY = 65534
_CONNECT = """
import os, socket, sys
if len(sys.argv) > 3:
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[3]))
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
if sys.argv[2] == "stay":
    client.recv(1)
"""


@pytest.fixture
def listener(tmp_path: Path):
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    (opened,) = open_listeners([f"unix://{tmp_path}/s"], Opening(), environment={})
    opened.socket.settimeout(10)
    yield opened
    opened.close()


def connect(listener: Listener, what: str, *uid_and_gid: int) -> subprocess.Popen[bytes]:
    """A process that connects, as somebody else if wanted (which it becomes itself: Python may be out of reach)."""
    arguments = [str(listener.path), what, *map(str, uid_and_gid)]
    return subprocess.Popen([sys.executable, "-c", _CONNECT, *arguments], stderr=subprocess.PIPE)


def test_another_user(listener: Listener):
    assert listener.path is not None
    listener.path.chmod(0o666)
    with connect(listener, "stay", NOBODY, NOBODY) as client:
        with listener.socket.accept()[0] as accepted:
            actor = unix_actor(accepted)
    assert (actor.uid, actor.gid, actor.pid) == (NOBODY, NOBODY, client.pid)
    assert actor.executable == os.path.realpath(sys.executable)


def test_a_process_that_is_gone_is_not_mistaken_for_another(listener: Listener):
    with connect(listener, "go") as client:
        client.wait(10)
    with listener.socket.accept()[0] as accepted:
        actor = unix_actor(accepted)
    assert (actor.uid, actor.pid) == (0, client.pid)
    assert (actor.executable, actor.login_uid) == ("", None)


def test_a_process_that_has_ended_and_is_not_reaped(listener: Listener):
    client = connect(listener, "go")
    try:
        os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOWAIT)
        with listener.socket.accept()[0] as accepted:
            assert unix_actor(accepted).executable == ""
    finally:
        client.communicate(timeout=10)


def test_only_the_group_gets_in(tmp_path: Path):
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    group = grp.getgrgid(NOBODY)
    (opened,) = open_listeners([f"unix://{tmp_path}/s"], Opening(group=group.gr_name), environment={})
    described = (tmp_path / "s").stat()
    assert (described.st_gid, stat.S_IMODE(described.st_mode)) == (NOBODY, 0o660)
    with connect(opened, "go", NOBODY, NOBODY) as member:
        assert member.wait(10) == 0
    with connect(opened, "go", NOBODY, 1) as stranger:
        _, complaint = stranger.communicate(timeout=10)
    assert b"PermissionError" in complaint
    opened.close()


def test_a_numeric_group(tmp_path: Path):
    (opened,) = open_listeners([f"unix://{tmp_path}/s"], Opening(group=str(NOBODY)), environment={})
    assert (tmp_path / "s").stat().st_gid == NOBODY
    opened.close()


def test_a_full_queue_is_a_living_daemon(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(f"{tmp_path}/s")
        busy.listen(0)
        first.connect(f"{tmp_path}/s")
        with pytest.raises(OSError, match="another process listens"):
            open_listeners([f"unix://{tmp_path}/s"], Opening(), environment={})
