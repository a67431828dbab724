import os
import socket
import ssl
import stat
from pathlib import Path

import pytest

from daemon.http.sockets import Listener, Opening, open_listeners


def opened(*addresses: str, **opening) -> list[Listener]:
    return open_listeners(addresses, Opening(**opening), environment={})


def test_unix_socket_with_its_mode_whatever_the_umask(tmp_path: Path):
    previous = os.umask(0o077)
    try:
        (listener,) = opened(f"unix://{tmp_path}/deep/s")
    finally:
        os.umask(previous)
    path = tmp_path / "deep" / "s"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()
    listener.close()


def test_a_dead_socket_gives_way(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    (listener,) = opened(f"unix://{tmp_path}/s")
    listener.close()


def test_a_living_socket_does_not(tmp_path: Path):
    (listener,) = opened(f"unix://{tmp_path}/s")
    with pytest.raises(OSError, match="another process listens on this socket"):
        opened(f"unix://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")
    listener.close()


def test_anything_else_is_left_alone(tmp_path: Path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(OSError, match="exists and is not a socket"):
        opened(f"unix://{tmp_path}/s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_successors_file_stays(tmp_path: Path):
    (listener,) = opened(f"unix://{tmp_path}/s")
    (tmp_path / "s").unlink()
    (tmp_path / "other").write_text("")
    (tmp_path / "other").rename(tmp_path / "s")
    listener.close()
    assert (tmp_path / "s").exists()


def test_an_unknown_group_leaves_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="group no-such-group not found"):
        opened(f"unix://{tmp_path}/s", group="no-such-group")
    assert list(tmp_path.iterdir()) == []


def test_all_or_none(tmp_path: Path):
    with pytest.raises(ValueError, match="invalid address nonsense"):
        opened(f"unix://{tmp_path}/s", "nonsense")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "use unix://PATH"),
        ("/run/x.sock", "use unix://PATH"),
        ("http://127.0.0.1:1", "use unix://PATH"),
        ("unix://relative", "must be absolute"),
        ("unix://", "must be absolute"),
        ("tcp://127.0.0.1:x", "invalid address"),
        ("tcp://127.0.0.1:99999", "invalid address"),
        ("tcp://127.0.0.1:0/path", "nothing may follow the port"),
        ("tcp://user@127.0.0.1:0", "nothing may follow the port"),
        ("tcp://256.0.0.1:0", "invalid address"),
        ("fd://", "the service manager passed none"),
    ],
)
def test_addresses_that_make_no_sense(address: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        opened(address, allow_plain_tcp=True)


@pytest.mark.parametrize("context", [None, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)])
def test_tcp_needs_verified_clients_or_the_operators_word(context: ssl.SSLContext | None):
    with pytest.raises(ValueError, match=r"refusing to listen on tcp://127.0.0.1:0 without verifying clients"):
        opened("tcp://127.0.0.1:0", tls=context)
    (listener,) = opened("tcp://127.0.0.1:0", tls=context, allow_plain_tcp=True)
    assert listener.tls is context
    listener.close()


@pytest.mark.parametrize(("host", "own"), [("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")])
def test_tcp_hosts(host: str, own: str):
    (listener,) = opened(f"tcp://{host}:0", allow_plain_tcp=True)
    assert listener.socket.getsockname()[0] == own
    assert not listener.socket.getblocking()
    listener.close()


def test_an_empty_host_is_every_address():
    (listener,) = opened("tcp://:0", allow_plain_tcp=True)
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, listener.socket.getsockname()[1]), timeout=5):
            pass
    listener.close()


def test_a_name_is_every_address_it_has():
    listeners = opened("tcp://localhost:0", allow_plain_tcp=True)
    assert {listener.socket.getsockname()[0] for listener in listeners} <= {"127.0.0.1", "::1"}
    for listener in listeners:
        listener.close()


def test_a_taken_port():
    (listener,) = opened("tcp://127.0.0.1:0", allow_plain_tcp=True)
    port = listener.socket.getsockname()[1]
    with pytest.raises(OSError, match="Address already in use"):
        opened(f"tcp://127.0.0.1:{port}", allow_plain_tcp=True)
    listener.close()
