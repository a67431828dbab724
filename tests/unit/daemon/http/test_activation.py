"""Descriptors are passed by number, so each case runs in a process of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_PRELUDE = """
    import os, socket, sys
    from daemon.http.sockets import Opening, open_listeners

    def listening(family, address):
        made = socket.socket(family)
        made.bind(address)
        made.listen()
        return made

    made = [listening(socket.AF_UNIX, sys.argv[1] + "/s"), listening(socket.AF_INET, ("127.0.0.1", 0))]
    copies = [os.dup2(each.fileno(), 20 + index) for index, each in enumerate(made)]
    for each in made:
        each.close()
    passed = [os.dup2(copy, 3 + index) for index, copy in enumerate(copies)]
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "api:api", "OTHER": "1"}

    def opened(address, **opening):
        return open_listeners([address], Opening(**opening), environment=environment)
"""


def run(directory: Path, case: str) -> str:
    script = textwrap.dedent(_PRELUDE) + textwrap.dedent(case)
    command = [sys.executable, "-c", script, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("address", ["fd://", "fd://*", "fd://api"])
def test_all_of_them(tmp_path: Path, address: str):
    case = f"""
        listeners = opened({address!r}, allow_plain_tcp=True)
        print([listener.socket.fileno() for listener in listeners])
        print([listener.socket.get_inheritable() for listener in listeners])
        print([listener.path for listener in listeners], environment)
    """
    assert run(tmp_path, case).splitlines() == ["[3, 4]", "[False, False]", "[None, None] {'OTHER': '1'}"]


def test_one_by_number(tmp_path: Path):
    case = """
        (listener,) = opened("fd://3")
        listener.close()
        print(os.path.exists(sys.argv[1] + "/s"))
    """
    assert run(tmp_path, case) == "True\n"  # the file is the service manager's


@pytest.mark.parametrize(
    ("setting", "address", "reason"),
    [
        ("", "fd://9", "passed are 3 (api), 4 (api)"),
        ("environment['LISTEN_PID'] = '1'", "fd://", "passed none"),
        ("environment.clear()", "fd://", "passed none"),
        ("environment['LISTEN_FDS'] = 'x'", "fd://", "passed none"),
        ("os.dup2(socket.socket().detach(), 3)", "fd://", "descriptor 3 passed by the service manager is not a list"),
        ("", "fd://4", "without verifying clients"),
    ],
)
def test_refusals(tmp_path: Path, setting: str, address: str, reason: str):
    case = f"""
        {setting}
        try:
            opened({address!r})
        except ValueError as error:
            print(error)
    """
    assert reason in run(tmp_path, case)
