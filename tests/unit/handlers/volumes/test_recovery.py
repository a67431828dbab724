"""What a boot makes of volumes that a killed daemon left in the middle of something."""

import msgspec
import pytest

from events.messages import volume as m
from tests.unit.handlers.volumes.engine import Engine

STREAM, CLAIM = "volume/data", ("volume/data",)


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


async def test_one_stuck_volume_holds_up_nobody(engine):
    await engine(m.CreateVolume(name="fine"))
    await engine.append("volume/fine", m.VolumeRemoveRequested(name="fine"))
    await engine.append(
        "volume/alien", m.VolumeCreateRequested(name="alien", driver="gone"), take=("volume/alien",), command_id="alien"
    )
    await engine.restart()
    assert engine.state.volumes.get("fine") is None
    assert engine.state.volumes.get("alien").status == "creating"


async def test_a_boot_without_anything_open_writes_nothing(engine):
    await engine(m.CreateVolume(name="data"))
    before = await engine.tags()
    await engine.restart()
    assert await engine.tags() == before
