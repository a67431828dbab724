"""A data-root without room: commands are refused before any effect, queries go on, and room makes all go on."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import EngineUnderTest, wait_until
from tests.unit.events.damage import fill

pytestmark = pytest.mark.root


@pytest.fixture
def subject() -> Iterator[EngineUnderTest]:
    engine = EngineUnderTest("--storage-driver", "vfs")
    engine.data_root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=711", "shiplog-test", engine.data_root], check=True)
    try:
        engine.start()
        engine.load_busybox()
        yield engine
        engine.docker("rm", "-f", "live", "ends", check=False)
        assert engine.stop() == 0
    finally:
        engine.close()


def create_until_refused(engine: EngineUnderTest, filler: Path) -> str:
    """What a client is told once there is no room; the log's file may have had some left."""
    for number in range(200):
        fill(filler)
        done = engine.docker("volume", "create", "--label", f"l={'x' * 4000}", f"v{number}", check=False)
        if done.returncode != 0:
            return done.stderr.decode()
    raise AssertionError("the disk did not fill")


def test_a_full_disk(subject: EngineUnderTest) -> None:
    subject.docker("run", "-d", "--name", "live", "busybox", "sleep", "1000")
    subject.docker("run", "-d", "--name", "ends", "busybox", "sleep", "1000")
    filler = subject.data_root / "filler"
    told = create_until_refused(subject, filler)
    assert "no space left on device" in told
    volumes = subject.out("volume", "ls", "-q").split()
    refused = subject.docker("run", "--name", "new", "busybox", "true", check=False)
    assert refused.returncode != 0
    assert "no space left on device" in refused.stderr.decode()
    assert {line.split()[-1] for line in subject.out("ps", "-a").splitlines()[1:]} == {"live", "ends"}
    assert subject.inspect("live")["State"]["Running"]
    assert subject.out("volume", "ls", "-q").split() == volumes
    pid = subject.inspect("ends")["State"]["Pid"]
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    wait_until(lambda: subject.inspect("ends")["State"]["Status"] == "exited", "its end is told", 60)
    assert subject.inspect("ends")["State"]["ExitCode"] == 137
    filler.unlink()
    subject.docker("volume", "create", "after")
    subject.docker("rm", "-f", "ends")
    assert subject.out("run", "--rm", "busybox", "echo", "works") == "works"
    assert json.loads(subject.out("inspect", "live"))[0]["State"]["Running"]
    subject.restart()
    assert "after" in subject.out("volume", "ls", "-q").split()
