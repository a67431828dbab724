"""Failpoints: what a plan says, and that a daemon without one is left as it is."""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from daemon.failpoints import VARIABLE, Failpoints, Panic, Rule, rules
from events.errors import SystemFailure
from events.messages.image import Credentials
from handlers.images.ports import Stream


class Driver:
    """Does nothing, and counts."""

    def __init__(self):
        self.done = 0

    async def mount(self, name):
        self.done += 1
        return name

    def describe(self):
        return "not an effect"


@pytest.fixture
def plan(tmp_path):
    return lambda text: (tmp_path / "plan").write_text(text)


@pytest.fixture
def driver(tmp_path):
    subject = Driver()
    failpoints = Failpoints.of({VARIABLE: str(tmp_path)})
    assert failpoints is not None
    failpoints.surround_drivers({"graph": subject})
    return subject


def test_without_the_variable_there_are_none():
    assert Failpoints.of({}) is None


@pytest.mark.parametrize("line", ["", "a=kill", "a/*=delay:0.5@3*2"])
def test_a_plan_is_read(line):
    expected = {
        "": (),
        "a=kill": (Rule(pattern="a", action="kill"),),
        "a/*=delay:0.5@3*2": (Rule(pattern="a/*", action="delay", seconds=0.5, first=3, times=2),),
    }
    assert rules(line) == expected[line]


@pytest.mark.parametrize("line", ["a", "a=explode", "=kill", "a=kill@", "a=delay:x", "a=kill*-1"])
def test_what_is_no_rule_is_refused(line):
    with pytest.raises(ValueError, match="not a rule"):
        rules(line)


async def test_without_a_plan_everything_goes_on(driver):
    assert await driver.mount("x") == "x"


async def test_an_error_before_is_one_without_effect(driver, plan):
    plan("engine/graph.mount/before=error")
    with pytest.raises(SystemFailure, match=r"failpoint engine/graph\.mount/before"):
        await driver.mount("x")
    assert driver.done == 0


async def test_an_error_after_comes_when_the_effect_is_there(driver, plan):
    plan("*/after=panic")
    with pytest.raises(Panic):
        await driver.mount("x")
    assert driver.done == 1


async def test_it_is_counted_from_the_plan_on(driver, plan, tmp_path):
    await driver.mount("before the plan")
    plan("*/graph.*/before=error@2*1")
    assert await driver.mount("first") == "first"
    with pytest.raises(SystemFailure):
        await driver.mount("second")
    assert await driver.mount("third") == "third"
    assert (tmp_path / "passed").read_text() == "engine engine/graph.mount/before\n"
    plan("*=note")
    await driver.mount("noted")
    assert (tmp_path / "passed").read_text().splitlines()[1:] == [
        "engine engine/graph.mount/before",
        "engine engine/graph.mount/after",
    ]


async def test_a_delay_delays_and_goes_on(driver, plan):
    plan("*=delay:0.001")
    assert await driver.mount("x") == "x"


def test_what_is_no_coroutine_is_left_alone(driver, plan):
    plan("*=error")
    assert driver.describe() == "not an effect"


class Registries:
    """One repository with one blob of two pieces."""

    def __init__(self):
        self.asked = []

    @asynccontextmanager
    async def repository(self, name, credentials):
        yield Repository(self.asked)


class Repository:
    """Notes what was asked."""

    def __init__(self, asked):
        self._asked = asked

    async def manifest(self, reference):
        self._asked.append(reference)

    @asynccontextmanager
    async def blob(self, digest, offset):
        async def pieces():
            yield b"one"
            yield b"two"

        self._asked.append(digest)
        yield Stream(offset=offset, chunks=pieces())


async def fetched(registries):
    """The pieces of a blob."""
    async with registries.repository("name", Credentials()) as repository:
        await repository.manifest("tag")
        async with repository.blob("digest", 0) as stream:
            return [piece async for piece in stream.chunks]


async def test_a_registry_is_surrounded_down_to_the_pieces_of_a_blob(plan, tmp_path):
    registries: Any = Registries()
    Failpoints(tmp_path).surround_registries(registries)
    assert await fetched(registries) == [b"one", b"two"]
    plan("engine/registry.piece/after=panic@2\n*=note")
    with pytest.raises(Panic):
        await fetched(registries)
    steps = ["manifest/before", "manifest/after", "blob/before", "blob/after"] + ["piece/before", "piece/after"] * 2
    assert (tmp_path / "passed").read_text().split() == [
        word for step in steps for word in ("engine", f"engine/registry.{step}")
    ]
    assert registries.asked == ["tag", "digest", "tag", "digest"]
