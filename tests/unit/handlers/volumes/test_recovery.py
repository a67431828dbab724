"""What a boot makes of volumes that a killed daemon left in the middle of something."""

from collections.abc import Awaitable, Callable, Collection

import anyio
import msgspec
import pytest
from typing_extensions import override

from events.errors import SystemFailure
from events.messages import volume as m
from tests.fakes.keyring import MemoryKeyring
from tests.fakes.volume_driver import FakeVolumeDriver
from tests.unit.handlers.volumes.engine import Engine

STREAM, CLAIM = "volume/data", ("volume/data",)
LIMIT_S = 10.0
Meanwhile = Callable[[], Awaitable[object]]


class PausingDriver(FakeVolumeDriver):
    """Stops within `create` until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = anyio.Event(), anyio.Event()

    @override
    async def create(self, name: str, options: dict[str, str]) -> str:
        self.reached.set()
        await self.go_on.wait()
        return await super().create(name, options)


class LateDriver(FakeVolumeDriver):
    """Something happens just before it lists its volumes."""

    def __init__(self, meanwhile: Meanwhile) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    @override
    async def list(self) -> frozenset[str]:
        await self._meanwhile()
        return await super().list()


class LateKeyring(MemoryKeyring):
    """Something happens just before it tells whose keys it has."""

    def __init__(self, meanwhile: Meanwhile) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    @override
    async def owners(self, *, besides: Collection[str] = ()) -> tuple[str, ...]:
        await self._meanwhile()
        return await super().owners(besides=besides)


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def test_a_creation_cut_off_is_finished_under_its_own_id(engine):
    await engine.append(STREAM, m.VolumeCreateRequested(name="data", driver="local"), take=CLAIM)
    await engine.restart()
    assert engine.state.volumes.get("data").status == "ready"
    assert bytes((await engine.answer("cut-off")).answer) == b'{"name":"data","created":true}'
    newest = [recorded async for recorded in engine.log.read_stream(STREAM)][-1]
    assert (newest.cause.actor.kind, newest.cause.command_id, newest.cause.causation) == ("recovery", "cut-off", 1)


async def test_a_creation_whose_options_are_gone_is_undone(engine):
    sealed = await engine.keyring.seal(STREAM, b"{}")
    await engine.keyring.destroy(STREAM)
    await engine.append(STREAM, m.VolumeCreateRequested(name="data", driver="local", options=sealed), take=CLAIM)
    await engine.restart()
    assert engine.state.volumes.get("data") is None
    assert await engine.log.claim_holder("volume/data") is None


async def test_a_removal_cut_off_is_finished(engine):
    await engine(m.CreateVolume(name="data", options={"type": "tmpfs", "device": "tmpfs"}))
    await engine.append(STREAM, m.VolumeRemoveRequested(name="data"))
    await engine.restart()
    assert engine.state.volumes.get("data") is None
    assert engine.driver.volumes == {}
    assert await engine.keyring.owners() == ()
    assert bytes((await engine.answer("cut-off")).answer) == b"null"


@pytest.mark.parametrize(("arrived", "outcome"), [(True, "volume.populated"), (False, "volume.populate_failed")])
async def test_a_copy_cut_off_is_complete_or_nothing(engine, arrived, outcome):
    await engine(m.CreateVolume(name="data"))
    await engine.append(STREAM, m.VolumePopulateRequested(name="data"))
    engine.driver.arrived |= {"data"} if arrived else set()
    await engine.restart()
    assert (await engine.tags())[-1] == outcome
    assert not engine.state.volumes.get("data").populating


async def test_a_device_mounted_for_a_copy_is_unmounted(engine):
    await engine(m.CreateVolume(name="data", options={"type": "tmpfs", "device": "tmpfs"}))
    await engine.append(STREAM, m.VolumePopulateRequested(name="data"))
    engine.driver.mounted.add("data")
    await engine.restart()
    assert engine.driver.mounted == set()


async def test_what_nobody_knows_is_removed_and_said(engine):
    engine.driver.volumes["orphan"] = set()
    await engine(m.CreateVolume(name="known"))
    await engine.restart()
    assert set(engine.driver.volumes) == {"known"}
    events = [recorded.event async for recorded in engine.log.read_stream("system/engine")]
    assert [msgspec.to_builtins(event) for event in events] == [{"kind": "volume", "name": "orphan"}]


async def test_keys_without_a_volume_are_destroyed(engine):
    await engine.keyring.seal("volume/gone", b"x")
    await engine.keyring.seal("container/other", b"x")
    await engine.restart()
    assert await engine.keyring.owners() == ("container/other",)


async def test_a_key_goes_though_its_name_was_given_to_a_volume_without_options(engine):
    await engine(m.CreateVolume(name="again"))
    await engine.keyring.seal("volume/again", b"x")  # its predecessor had options, and the key's destruction failed
    await engine.restart()
    assert await engine.keyring.owners() == ()


async def test_one_stuck_volume_holds_up_nobody(engine):
    await engine(m.CreateVolume(name="fine"))
    await engine.append("volume/fine", m.VolumeRemoveRequested(name="fine"))
    await engine.append(
        "volume/alien", m.VolumeCreateRequested(name="alien", driver="gone"), take=("volume/alien",), command_id="alien"
    )
    await engine.restart()
    assert engine.state.volumes.get("fine") is None
    assert engine.state.volumes.get("alien").status == "creating"


class StuckKeyring(MemoryKeyring):
    """Can't destroy one owner's key."""

    @override
    async def destroy(self, owner: str) -> None:
        if owner == "volume/a":
            raise SystemFailure("its file can't be written")
        await super().destroy(owner)


async def test_one_key_that_stays_keeps_no_other(engine):
    engine.keyring = StuckKeyring()
    for owner in ("volume/a", "volume/b"):
        await engine.keyring.seal(owner, b"x")
    await engine.restart()
    assert await engine.keyring.owners() == ("volume/a",)


async def test_a_driver_that_does_not_answer_holds_up_no_other(engine):
    async def unreadable() -> None:
        raise SystemFailure("the volumes can't be listed")

    engine.driver = LateDriver(unreadable)
    await engine.keyring.seal("volume/gone", b"x")
    await engine.restart()
    assert await engine.keyring.owners() == ()


async def test_a_boot_without_anything_open_writes_nothing(engine):
    await engine(m.CreateVolume(name="data"))
    before = await engine.tags()
    await engine.restart()
    assert await engine.tags() == before


async def test_what_a_command_finishes_meanwhile_is_not_done_again(engine):
    driver = engine.driver = PausingDriver()
    engine.start()
    await engine.append(STREAM, m.VolumeCreateRequested(name="data", driver="local"), take=CLAIM)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine, m.CreateVolume(name="data"))
            await driver.reached.wait()
            tasks.start_soon(engine.recover)
            await anyio.wait_all_tasks_blocked()
            driver.go_on.set()
    assert await engine.tags() == ["volume.create_requested", "volume.created"]
    assert driver.calls == ["create data"]


async def test_a_volume_made_while_orphans_are_looked_for_stays(engine):
    engine.driver = LateDriver(lambda: engine(m.CreateVolume(name="late")))
    await engine.restart()
    assert set(engine.driver.volumes) == {"late"}


async def test_a_key_made_while_orphans_are_looked_for_stays(engine):
    options = {"type": "tmpfs", "device": "tmpfs"}
    engine.keyring = LateKeyring(lambda: engine(m.CreateVolume(name="late", options=options)))
    await engine.restart()
    assert await engine.keyring.owners() == ("volume/late",)
