from daemon.http.stdcopy import STDERR, STDOUT, frame


def test_frame():
    assert frame(STDOUT, b"hello") == b"\x01\0\0\0\0\0\0\x05hello"
    assert frame(STDERR, b"") == b"\x02\0\0\0\0\0\0\0"
    assert frame(STDERR, b"x" * 70_000)[:8] == b"\x02\0\0\0\x00\x01\x11\x70"
