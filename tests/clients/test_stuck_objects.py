"""One object that hangs: neither the daemon's start nor anybody else waits for it."""

import time

import pytest

from tests.engines import EngineUnderTest, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

BOUND_S = 8.0  # what hangs is given 30

# Everything is passed on to runc; while the file is there, it never answers about a container.
RUNTIME = """\
#!/bin/sh
[ "$1" = --version ] && echo "a runtime that may hang" && exit
for word; do
    case "$word" in
        state|delete|kill) while [ -e {stuck} ]; do sleep 0.05; done ;;
    esac
done
exec runc "$@"
"""


@pytest.fixture
def engine():
    """With a runtime that hangs while the file `stuck` is in the engine's directory."""
    subject = EngineUnderTest()
    program = subject.directory / "runtime"
    program.write_text(RUNTIME.format(stuck=subject.directory / "stuck"))
    program.chmod(0o755)
    subject.arguments = ("--add-runtime", f"slow={program}")
    try:
        subject.start()
        subject.load_busybox()
        yield subject
    finally:
        (subject.directory / "stuck").unlink(missing_ok=True)
        subject.close()


def hangs(engine: EngineUnderTest) -> bool:
    """Whether the runtime is being asked for something that it doesn't answer."""
    return any("delete" in arguments for _, arguments in engine._processes())


def test_a_runtime_that_hangs_holds_up_neither_the_start_nor_others(engine):
    engine.docker("run", "-d", "--name", "stuck", "--runtime", "slow", "busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", "fine", "busybox", "sleep", "1000")
    pid = engine.inspect("stuck")["State"]["Pid"]
    engine.kill()
    (engine.directory / "stuck").touch()
    began = time.monotonic()
    engine.start()
    engine.docker("exec", "fine", "true")
    engine.docker("run", "--rm", "busybox", "true")
    engine.docker("rm", "-f", "fine")
    assert time.monotonic() - began < BOUND_S
    assert engine.inspect("stuck")["State"]["Pid"] == pid
    (engine.directory / "stuck").unlink()
    engine.docker("stop", "-t", "0", "stuck")
    engine.docker("rm", "stuck")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def test_a_removal_that_hangs_is_told_and_goes_on_once_it_can(engine):
    engine.docker("run", "-d", "--name", "stuck", "--runtime", "slow", "busybox", "sleep", "1000")
    (engine.directory / "stuck").touch()
    with engine.popen("rm", "-f", "stuck"):
        wait_until(lambda: hangs(engine), "the runtime was asked and hangs")
        engine.kill()
    began = time.monotonic()
    engine.start()
    engine.docker("run", "--rm", "busybox", "true")
    assert time.monotonic() - began < BOUND_S
    assert b"is already in progress" in engine.docker("rm", "-f", "stuck", check=False).stderr
    (engine.directory / "stuck").unlink()
    wait_until(lambda: engine.out("ps", "-aq") == "", "the removal has ended")
    assert engine.stop() == 0
    assert engine.leftovers() == []
