"""Progress: what a slow reader sees, and what ends when nobody watches."""

import anyio
import pytest

from handlers.progress import Note, Progress


def step(current: int) -> Note:
    return Note(status="Downloading", subject="a", has_detail=True, current_bytes=current, total_bytes=10)


async def test_a_slow_reader_sees_the_newest_state():
    progress = Progress()
    reader = progress.follow("c")
    for current in range(1, 10):
        progress.tell("c", step(current))
    progress.tell("c", Note(status="done"))
    progress.tell("other", Note(status="not for us"))
    assert await reader.read() == (step(9), Note(status="done"))
    reader.close()
    assert await reader.read() == ()


async def test_a_command_ends_when_its_last_reader_leaves():
    progress = Progress()
    one, two = progress.follow("c"), progress.follow("c")
    with progress.watched("c") as scope:
        progress.leave("c", one)
        progress.leave("c", one)
        assert not scope.cancel_called
        progress.leave("c", two)
        assert scope.cancel_called
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_command_whose_reader_left_before_it_began():
    progress = Progress()
    progress.leave("c", progress.follow("c"))
    with progress.watched("c") as scope:
        await anyio.lowlevel.checkpoint()
        pytest.fail("it goes on")
    assert scope.cancelled_caught


async def test_what_has_its_answer_is_not_abandoned():
    progress = Progress()
    reader = progress.follow("c")
    reader.close()
    progress.leave("c", reader)
    with progress.watched("c") as scope:
        await anyio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
