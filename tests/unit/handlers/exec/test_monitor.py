"""conmon's last words are heard, however soon it ends after them."""

import os
import sys

import pytest

from handlers.exec.drivers import monitor
from handlers.kernel.pidfd import ProcessHandle

# Stands for a conmon that has forked, spoken and ended before anybody could look at it; without words it says nothing.
SHORT = """
import os, sys
process = os.fork()
if process == 0:
    os.write(int(os.environ["_OCI_SYNCPIPE"]), os.fsencode(sys.argv[2]))
    os._exit(0)
os.waitpid(process, 0)
open("conmon.pid", "w").write(str(process))
"""
REFUSAL = '{"data": -1, "message": "no containers today"}\n'


async def outcome(directory, words: str) -> int:
    """What becomes of a launch whose conmon is gone when it is looked for."""
    with monitor.pipes(1) as (sync,):
        launched = await monitor.launch(
            (sys.executable, "-c", SHORT, str(directory), words),
            directory,
            {"_OCI_SYNCPIPE": str(sync.write_end)},
            (sync.read_end, sync.write_end),
        )
        held = await launched.monitor()
        assert held is None
        return await monitor.bounded(10, sync, held, "speaking")


async def test_what_was_said_before_anybody_looked_is_heard(tmp_path):
    assert await outcome(tmp_path, '{"data": 4711}\n') == 4711


async def test_why_nothing_was_made_is_told_also_then(tmp_path):
    with pytest.raises(monitor.RuntimeRefused, match="no containers today"):
        await outcome(tmp_path, REFUSAL)


@pytest.mark.parametrize("words", ["", '{"data": 47'])
async def test_one_that_ended_without_a_word_is_not_waited_for(tmp_path, words):
    with pytest.raises(monitor.RuntimeRefused, match=monitor.NO_WORD):
        await outcome(tmp_path, words)


async def test_words_that_came_between_two_looks_are_heard(monkeypatch):
    """The pipe is looked at, then conmon: it spoke and ended in between, and only its end is seen."""
    held = ProcessHandle.open(os.getpid())
    assert held is not None
    with monitor.pipes(1) as (sync,):

        async def only_the_end(watched):
            os.write(sync.write_end, REFUSAL.encode())
            return {held.fileno()}

        monkeypatch.setattr(monitor, "wait_any", only_the_end)
        with held, pytest.raises(monitor.RuntimeRefused, match="no containers today"):
            await monitor.bounded(10, sync, held, "speaking")
