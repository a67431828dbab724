"""Checkpoints of a running engine, and the program that checks a copy of its log with nothing but the public key."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.raw import say, status_of
from tests.engines import ROOT, EngineUnderTest

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def subject() -> Iterator[EngineUnderTest]:
    engine = EngineUnderTest()
    try:
        engine.start()
        engine.docker("volume", "create", "data")
        yield engine
        assert engine.stop() == 0
    finally:
        engine.close()


def audit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clients.verifier", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )


def test_root_has_checkpoints_signed_and_a_stranger_checks_them(subject: EngineUnderTest, tmp_path: Path) -> None:
    said = say(subject.socket, b"POST /shiplog/checkpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(said) == 200
    answer = json.loads(said.partition(b"\r\n\r\n")[2])
    (tmp_path / "key.pem").write_text(answer["public_key"])
    (tmp_path / "checkpoint").write_text(json.dumps(answer))
    subject.docker("volume", "create", "later")
    shutil.copytree(subject.data_root / "log", tmp_path / "log", ignore=shutil.ignore_patterns("*-shm", "lock"))
    checked = audit(tmp_path / "log", "--key", tmp_path / "key.pem", "--checkpoints", tmp_path / "checkpoint")
    assert checked.returncode == 0, checked.stderr
    assert f"the newest of event {answer['checkpoint']['sequence']}" in checked.stdout
    kept = subject.data_root / "checkpoints" / "checkpoints.ndjson"
    both = audit(tmp_path / "log", "--key", tmp_path / "key.pem", "--checkpoints", kept)
    assert both.returncode == 0, both.stderr


def test_nobody_else_has_them_signed(subject: EngineUnderTest) -> None:
    subject.socket.chmod(0o666)
    subject.directory.chmod(0o755)
    script = (
        "import os, socket; os.setgroups([]); os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        f"s.connect({str(subject.socket)!r}); "
        "s.sendall(b'POST /shiplog/checkpoint HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'); "
        "print(s.recv(4096).decode())"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.startswith("HTTP/1.1 403")
    assert "only root" in answer.stdout


def test_each_orderly_stop_signs(subject: EngineUnderTest) -> None:
    kept = subject.data_root / "checkpoints" / "checkpoints.ndjson"
    assert subject.stop() == 0
    before = kept.read_text().count("\n")
    subject.start()
    assert subject.stop() == 0
    assert kept.read_text().count("\n") == before + 1
    subject.start()
