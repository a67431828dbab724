"""Domains are reconciled one after the other; one that hangs is left behind."""

from typing import Any

import anyio

from daemon.recovery import Patience, recover
from events.base import Command
from events.messages.system import OrphanRemoved
from handlers.context import Context, Handle
from tests.fakes.sender import Engine

IMPATIENT = Patience(longest_s=5, without_event_s=0.02, last_without_event_s=0.02)
PATIENT = Patience(longest_s=5, without_event_s=5, last_without_event_s=5)


class Domain:
    """Reconciles as it is told."""

    def __init__(self, name: str, log: list[str], *, events: int = 0, hangs: bool = False, fails: bool = False) -> None:
        self._name, self._log, self._events, self._hangs, self._fails = name, log, events, hangs, fails

    def commands(self) -> dict[type[Command[Any]], Handle]:
        return {}

    async def reconcile(self, context: Context) -> None:
        self._log.append(f"{self._name} begins")
        for _ in range(self._events):
            await anyio.sleep(0.01)
            await context.append("system/engine", OrphanRemoved(kind="mount", name="x"))
        if self._hangs:
            await anyio.sleep_forever()
        if self._fails:
            raise RuntimeError("on purpose")
        self._log.append(f"{self._name} ends")


async def recovered(*domains: Domain, patience: Patience = IMPATIENT) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await recover(domains, Engine().services, tasks, patience)
            tasks.cancel_scope.cancel()


async def test_one_after_the_other_also_after_a_failure():
    log: list[str] = []
    await recovered(Domain("a", log, events=2), Domain("b", log, fails=True), Domain("c", log), patience=PATIENT)
    assert log == ["a begins", "a ends", "b begins", "c begins", "c ends"]


async def test_one_that_hangs_is_left_behind():
    log: list[str] = []
    await recovered(Domain("a", log, hangs=True), Domain("b", log))
    assert log == ["a begins", "b begins", "b ends"]


async def test_one_that_goes_on_settling_is_waited_for():
    log: list[str] = []
    await recovered(Domain("a", log, events=5), patience=PATIENT)
    assert log == ["a begins", "a ends"]


async def test_but_not_for_ever():
    log: list[str] = []
    await recovered(Domain("a", log, events=500), patience=Patience(longest_s=0.05, last_without_event_s=1))
    assert log == ["a begins"]
