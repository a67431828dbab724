"""A process that sleeps in the kernel and can't be killed: neither a start of the daemon nor others wait for it."""

from pathlib import Path

import pytest

from tests.engines import EngineUnderTest, engine_with_image, wait_until
from tests.stuck_files import NAME, StuckFiles

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel has no FUSE"),
]
PATIENCE_S = 60.0


@pytest.fixture
def engine():
    """With an image."""
    with engine_with_image() as subject:
        yield subject


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def others_go_on(engine: EngineUnderTest) -> None:
    engine.docker("exec", "fine", "true")
    engine.docker("run", "--rm", "busybox", "true")


def removed(engine: EngineUnderTest, name: str) -> bool:
    """Whether it is gone, after another try where a first one has failed."""
    engine.docker("rm", "-f", name, check=False)
    return name not in engine.out("ps", "-a", "--format", "{{.Names}}").split()


def test_it_holds_up_nobody_and_can_be_removed_in_the_end(engine):
    place = engine.directory / "stuck-files"
    with StuckFiles(place) as files:
        bind = ("-v", f"{place}:/files")
        engine.docker("run", "-d", "--name", "stuck", "-p", "8082:80", *bind, "busybox", "cat", f"/files/{NAME}")
        engine.docker("run", "-d", "--name", "fine", "busybox", "sleep", "1000")
        assert files.asked.wait(PATIENCE_S)
        pid = engine.inspect("stuck")["State"]["Pid"]
        with engine.popen("rm", "-f", "stuck"):
            wait_until(lambda: state_of(pid) == "D", "it was killed, and doesn't die", PATIENCE_S)
            others_go_on(engine)
            engine.kill()
        engine.start()
        others_go_on(engine)
        engine.docker("rm", "-f", "fine")
        assert state_of(pid) == "D"
    wait_until(lambda: removed(engine, "stuck"), "it can be removed", PATIENCE_S)
    engine.docker("run", "--rm", "-p", "8082:80", "busybox", "true")
    assert engine.stop() == 0
    assert engine.leftovers() == []
