import os
import socket
import sys
from pathlib import Path

import pytest

from daemon.http.peer import source_address, unix_actor


def test_the_process_at_the_other_end(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(f"{tmp_path}/s")
        listening.listen()
        client.connect(f"{tmp_path}/s")
        with listening.accept()[0] as accepted:
            actor = unix_actor(accepted)
    assert (actor.kind, actor.uid, actor.gid, actor.pid) == ("unix", os.getuid(), os.getgid(), os.getpid())
    assert actor.executable == os.path.realpath(sys.executable)
    login_uid = int(Path("/proc/self/loginuid").read_text())
    assert actor.login_uid == (None if login_uid == 2**32 - 1 else login_uid)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5"),
        (("::1", 5, 0, 0), "[::1]:5"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1:5"),
    ],
)
def test_source_address(address: tuple[str, int], expected: str):
    assert source_address(address) == expected
