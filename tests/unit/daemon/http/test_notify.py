import re
import socket
from pathlib import Path

import pytest

from daemon.http.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_states_reach_the_manager(tmp_path: Path, abstract: bool):
    address = f"@{tmp_path}/n" if abstract else f"{tmp_path}/n"
    environment = {"NOTIFY_SOCKET": address}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        manager.settimeout(5)
        notifier = Notifier(environment)
        assert notifier.ready()
        assert manager.recv(100) == b"READY=1"
        assert notifier.reloading()
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=[0-9]+", manager.recv(100))
        assert notifier.stopping()
        assert manager.recv(100) == b"STOPPING=1"
    assert environment == {}
    assert not notifier.ready()


def test_silent_without_a_manager():
    assert not Notifier({}).ready()
