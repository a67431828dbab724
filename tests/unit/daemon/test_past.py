"""Past states: made once, kept while somebody asks for them, and given back with the files that they came from."""

from pathlib import Path

import anyio

from daemon.past import KEPT_STATES, Past
from daemon.unread import forget_unread
from events.projections.state import State
from tests.unit.events.damage import everything, filled, open_log
from tests.unit.events.test_archives import unnamed


class Maker:
    """Makes states, and knows of which events."""

    def __init__(self) -> None:
        self.made: list[int] = []

    async def __call__(self, sequence: int) -> State:
        self.made.append(sequence)
        return State()


async def test_a_state_is_made_once() -> None:
    maker = Maker()
    past = Past(maker)
    assert await past.state_at(7) is await past.state_at(7)
    assert maker.made == [7]


async def test_the_last_few_are_kept() -> None:
    maker = Maker()
    past = Past(maker)
    for sequence in (*range(KEPT_STATES + 1), KEPT_STATES, 0):
        await past.state_at(sequence)
    assert maker.made == [*range(KEPT_STATES + 1), 0]


async def test_what_nobody_asks_for_is_forgotten() -> None:
    maker = Maker()
    past = Past(maker)
    await past.state_at(1)
    await past.state_at(2)
    assert not past.forget_unread()
    await past.state_at(2)
    assert past.forget_unread()
    await past.state_at(2)
    await past.state_at(1)
    assert maker.made == [1, 2, 1]
    assert not past.forget_unread()
    assert past.forget_unread()
    assert not past.forget_unread()


async def test_an_engine_gives_back_what_a_look_at_the_past_took(tmp_path: Path) -> None:
    await filled(tmp_path)
    maker = Maker()
    async with open_log(tmp_path) as log:
        await log.archive(log.head)
        past = Past(maker)
        await past.state_at(1)
        await everything(log)
        assert unnamed(tmp_path)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget_unread, past, log, 0.01)
            with anyio.fail_after(60):
                while unnamed(tmp_path):
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        await past.state_at(1)
    assert maker.made == [1, 1]
