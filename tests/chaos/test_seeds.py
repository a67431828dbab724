"""Random operations, a daemon that is killed among them: fifty seeds in the suite, any number with `ops/chaos`."""

import threading

import pytest

from tests.chaos import campaign, seeds

pytestmark = [pytest.mark.root, pytest.mark.slow]
GROUPS, SEEDS_PER_GROUP = 10, 5
ENGINES = 2  # at a time


class Crew:
    """Engines side by side, each with the seeds of its own."""

    def __init__(self):
        self._worlds = [seeds.Worlds() for _ in range(ENGINES)]

    def try_all(self, numbers):
        """The results of seeds, shared out among the engines."""
        found = []
        waiting = list(reversed(numbers))

        def work(worlds):
            while waiting:
                found.append(campaign.attempt(worlds, waiting.pop()))

        threads = [threading.Thread(target=work, args=(worlds,)) for worlds in self._worlds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def close(self):
        """Nothing of them is left."""
        for worlds in self._worlds:
            worlds.__exit__()


@pytest.fixture(scope="module")
def crew():
    """Engines for all seeds."""
    subject = Crew()
    yield subject
    subject.close()


@pytest.mark.parametrize("group", range(GROUPS))
def test_nothing_confirmed_is_lost_and_nothing_is_left(crew, group):
    first = group * SEEDS_PER_GROUP + 1
    found = crew.try_all(range(first, first + SEEDS_PER_GROUP))
    wrong = [
        f"seed {result.seed} (ops/chaos --seed {result.seed}): {text}" for result in found for text in result.wrong
    ]
    assert wrong == []
    assert len(found) == SEEDS_PER_GROUP
    assert sum(result.lost + result.leaked for result in found) == 0
