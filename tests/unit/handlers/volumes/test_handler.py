"""Every command of volumes: what it answers, what it records, and what a repeat or a rival changes."""

import re

import anyio
import msgspec
import pytest

from events.errors import Conflict, InvalidParameter, NotFound, SystemFailure
from events.messages import volume as m
from tests.unit.handlers.volumes.engine import Engine

TMPFS = {"type": "tmpfs", "device": "tmpfs"}


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def rootfs(tmp_path) -> str:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "one").touch()
    return str(tmp_path)


async def test_creating_records_intent_and_outcome(engine):
    assert await engine(m.CreateVolume(name="data", labels={"a": "b"})) == m.CreatedVolume(name="data", created=True)
    assert await engine.tags() == ["volume.create_requested", "volume.created"]
    volume = engine.state.volumes.get("data")
    assert (volume.mountpoint, volume.labels, volume.anonymous) == ("/volumes/data", {"a": "b"}, False)
    assert await engine.log.claim_holder("volume/data") == "volume/data"


async def test_creating_again_answers_with_the_first(engine):
    await engine(m.CreateVolume(name="data"))
    again = await engine(m.CreateVolume(name="data", options=TMPFS, labels={"other": ""}))
    assert again == m.CreatedVolume(name="data", created=False)
    assert engine.state.volumes.get("data").options is None


async def test_many_at_once_make_one(engine):
    answers = []

    async def create():
        answers.append(await engine(m.CreateVolume(name="data")))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(create)
    assert sorted(answer.created for answer in answers) == [False] * 19 + [True]
    assert await engine.tags() == ["volume.create_requested", "volume.created"]


async def test_an_anonymous_volume_has_a_long_name_and_docker_s_label(engine):
    answer = await engine(m.CreateVolume())
    assert re.fullmatch("[0-9a-f]{64}", answer.name)
    assert engine.state.volumes.get(answer.name).labels == {"com.docker.volume.anonymous": ""}
    assert engine.state.volumes.get(answer.name).anonymous


@pytest.mark.parametrize("how", [{"labels": {"com.docker.volume.anonymous": ""}}, {"anonymous": True}])
async def test_a_name_does_not_make_it_less_anonymous(engine, how):
    await engine(m.CreateVolume(name="f" * 64, **how))
    volume = engine.state.volumes.get("f" * 64)
    assert volume.anonymous
    assert volume.labels == {"com.docker.volume.anonymous": ""}


async def test_options_are_sealed_and_their_key_goes_with_the_volume(engine):
    await engine(m.CreateVolume(name="data", options={**TMPFS, "o": "password=secret"}))
    sealed = engine.state.volumes.get("data").options
    assert msgspec.json.decode(engine.keyring.open(sealed)) == {**TMPFS, "o": "password=secret"}
    await engine(m.RemoveVolume(name="data"))
    assert await engine.keyring.owners() == ()


async def test_without_options_there_is_no_key(engine):
    await engine(m.CreateVolume(name="data"))
    assert await engine.keyring.owners() == ()


@pytest.mark.parametrize(
    ("command", "kind", "message"),
    [
        (m.CreateVolume(name="/bad"), InvalidParameter, 'create /bad: "/bad" includes invalid characters for a local'),
        (m.CreateVolume(name="ok", options={"foo": "x"}), InvalidParameter, 'create ok: invalid option: "foo"'),
        (m.CreateVolume(name="ok", options={"o": "ro"}), InvalidParameter, 'create ok: missing required option: "dev'),
        (
            m.CreateVolume(name="ok", driver="x"),
            NotFound,
            'create ok: error looking up volume plugin x: plugin "x" not found',
        ),
        (m.RemoveVolume(name="none"), NotFound, "get none: no such volume"),
        (m.AcquireVolume(name="none", container_id="c"), NotFound, "get none: no such volume"),
        (m.PopulateVolume(name="none", rootfs="/", source="/"), NotFound, "get none: no such volume"),
        (m.MountVolume(name="none", container_id="c", destination="/"), NotFound, "get none: no such volume"),
    ],
)
async def test_refusals_have_docker_s_words_and_leave_no_trace(engine, command, kind, message):
    with pytest.raises(kind) as caught:
        await engine(command)
    assert str(caught.value).startswith(message)
    assert await engine.tags() == []


async def test_another_driver_has_the_name(engine):
    await engine(m.CreateVolume(name="data", driver="other"))
    with pytest.raises(Conflict) as caught:
        await engine(m.CreateVolume(name="data"))
    assert str(caught.value) == ("create data: driver 'other' already has volume 'data': volume name must be unique")


async def test_a_creation_that_fails_is_undone(engine):
    engine.driver.failing.add("create")
    with pytest.raises(SystemFailure, match="create data: refused"):
        await engine(m.CreateVolume(name="data", options=TMPFS))
    assert await engine.tags() == ["volume.create_requested", "volume.create_failed"]
    assert engine.state.volumes.get("data") is None
    assert await engine.log.claim_holder("volume/data") is None
    assert await engine.keyring.owners() == ()
    engine.driver.failing.clear()
    assert (await engine(m.CreateVolume(name="data"))).created


async def test_a_creation_that_cannot_be_undone_is_finished_by_the_next(engine):
    engine.driver.failing |= {"create", "remove"}
    with pytest.raises(SystemFailure):
        await engine(m.CreateVolume(name="data"))
    engine.driver.failing.clear()
    await engine(m.CreateVolume(name="data"))
    assert engine.state.volumes.get("data").status == "ready"
    assert await engine.tags() == ["volume.create_requested", "volume.created"]


async def test_removing_records_intent_and_outcome(engine):
    await engine(m.CreateVolume(name="data"))
    await engine(m.RemoveVolume(name="data"))
    assert (await engine.tags())[2:] == ["volume.remove_requested", "volume.removed"]
    assert engine.driver.volumes == {}
    assert await engine.log.claim_holder("volume/data") is None


async def test_force_makes_an_unknown_volume_fine(engine):
    await engine(m.RemoveVolume(name="none", force=True))
    assert await engine.tags() == []


@pytest.mark.parametrize("force", [False, True])
async def test_a_volume_in_use_stays(engine, force):
    await engine(m.CreateVolume(name="data"))
    await engine(m.AcquireVolume(name="data", container_id="c2"))
    await engine(m.AcquireVolume(name="data", container_id="c1"))
    with pytest.raises(Conflict) as caught:
        await engine(m.RemoveVolume(name="data", force=force))
    assert str(caught.value) == "remove data: volume is in use - [c1, c2]"


async def test_a_removal_that_fails_can_be_tried_again(engine):
    await engine(m.CreateVolume(name="data"))
    engine.driver.failing.add("remove")
    with pytest.raises(SystemFailure):
        await engine(m.RemoveVolume(name="data"))
    with pytest.raises(NotFound):
        await engine(m.AcquireVolume(name="data", container_id="c"))
    engine.driver.failing.clear()
    await engine(m.RemoveVolume(name="data"))
    assert (await engine.tags())[2:] == ["volume.remove_requested", "volume.removed"]


async def test_acquiring_and_removing_at_once_has_one_winner(engine):
    for number in range(20):
        name = f"data-{number}"
        outcomes: list[str] = []
        await engine(m.CreateVolume(name=name))

        async def attempt(command, outcomes=outcomes):
            try:
                await engine(command)
                outcomes.append(type(command).__name__)
            except (NotFound, Conflict):
                outcomes.append("refused")

        async with anyio.create_task_group() as group:
            group.start_soon(attempt, m.RemoveVolume(name=name))
            group.start_soon(attempt, m.AcquireVolume(name=name, container_id="c"))
        assert "refused" in outcomes
        assert len(set(outcomes)) == 2
        assert (engine.state.volumes.get(name) is None) == ("RemoveVolume" in outcomes)


async def test_acquiring_twice_is_recorded_once(engine):
    await engine(m.CreateVolume(name="data"))
    await engine(m.AcquireVolume(name="data", container_id="c"))
    await engine(m.AcquireVolume(name="data", container_id="c"))
    assert (await engine.tags())[2:] == ["volume.acquired"]


async def test_releasing_the_unknown_is_fine(engine):
    await engine(m.ReleaseVolume(name="none", container_id="c", remove=True))
    await engine(m.CreateVolume(name="data"))
    await engine(m.ReleaseVolume(name="data", container_id="c"))
    assert (await engine.tags())[2:] == []


async def test_an_anonymous_volume_goes_with_its_last_user(engine):
    name = (await engine(m.CreateVolume())).name
    for container in ("c1", "c2"):
        await engine(m.AcquireVolume(name=name, container_id=container))
    await engine(m.ReleaseVolume(name=name, container_id="c1", remove=True))
    assert engine.state.volumes.get(name).users == {"c2"}
    await engine(m.ReleaseVolume(name=name, container_id="c2", remove=True))
    assert engine.state.volumes.get(name) is None
    assert (await engine.tags())[-3:] == ["volume.released", "volume.remove_requested", "volume.removed"]


async def test_a_named_volume_outlives_its_last_user(engine):
    await engine(m.CreateVolume(name="data"))
    await engine(m.AcquireVolume(name="data", container_id="c"))
    await engine(m.ReleaseVolume(name="data", container_id="c", remove=True))
    assert engine.state.volumes.get("data").users == frozenset()


async def test_an_anonymous_volume_stays_unless_told(engine):
    name = (await engine(m.CreateVolume())).name
    await engine(m.AcquireVolume(name=name, container_id="c"))
    await engine(m.ReleaseVolume(name=name, container_id="c"))
    assert engine.state.volumes.get(name) is not None


async def test_populating_records_only_what_happens(engine, rootfs):
    await engine(m.CreateVolume(name="data"))
    await engine(m.PopulateVolume(name="data", rootfs=rootfs, source="/absent"))
    assert (await engine.tags())[2:] == []
    await engine(m.PopulateVolume(name="data", rootfs=rootfs, source="/srv"))
    await engine(m.PopulateVolume(name="data", rootfs=rootfs, source="/srv"))
    assert (await engine.tags())[2:] == ["volume.populate_requested", "volume.populated"]
    assert engine.driver.volumes["data"] == {"one"}


async def test_a_failed_copy_is_recorded(engine, rootfs):
    await engine(m.CreateVolume(name="data"))
    engine.driver.failing.add("populate")
    with pytest.raises(SystemFailure):
        await engine(m.PopulateVolume(name="data", rootfs=rootfs, source="/srv"))
    assert (await engine.tags())[2:] == ["volume.populate_requested", "volume.populate_failed"]
    assert not engine.state.volumes.get("data").populating


async def test_a_device_is_mounted_for_the_copy_only(engine, rootfs):
    await engine(m.CreateVolume(name="data", options=TMPFS))
    await engine(m.PopulateVolume(name="data", rootfs=rootfs, source="/srv"))
    assert engine.driver.calls[1:] == ["mount data", "populate data", "unmount data"]


async def test_the_last_container_takes_the_mount_down(engine):
    await engine(m.CreateVolume(name="data", options=TMPFS))
    for container in ("c1", "c2"):
        path = await engine(m.MountVolume(name="data", container_id=container, destination="/d"))
        assert path == m.MountedVolume(path="/volumes/data")
    await engine(m.UnmountVolume(name="data", container_id="c1"))
    assert engine.driver.mounted == {"data"}
    await engine(m.UnmountVolume(name="data", container_id="c2"))
    assert engine.driver.mounted == set()
    assert (await engine.tags())[2:] == ["volume.mounted"] * 2 + ["volume.unmounted"] * 2


async def test_a_mount_is_recorded_with_how_it_is_used(engine):
    await engine(m.CreateVolume(name="data"))
    command = m.MountVolume(name="data", container_id="c", destination="/d", writable=False, propagation="rslave")
    await engine(command)
    events = [recorded.event async for recorded in engine.log.read_stream("volume/data")]
    assert events[-1] == m.VolumeMounted(
        name="data", container_id="c", destination="/d", writable=False, propagation="rslave"
    )


async def test_a_mount_that_fails_is_undone(engine):
    await engine(m.CreateVolume(name="data", options=TMPFS))
    engine.driver.failing.add("mount")
    with pytest.raises(SystemFailure, match="error while mounting volume '/volumes/data': mount data: refused"):
        await engine(m.MountVolume(name="data", container_id="c", destination="/d"))
    assert engine.state.volumes.get("data").mounted_by == frozenset()
    assert (await engine.tags())[2:] == ["volume.mounted", "volume.unmounted"]


async def test_unmounting_the_unknown_is_fine(engine):
    await engine(m.UnmountVolume(name="none", container_id="c"))
    await engine(m.CreateVolume(name="data"))
    await engine(m.UnmountVolume(name="data", container_id="c"))
    assert (await engine.tags())[2:] == []


async def test_answers_are_kept_for_a_repeat(engine):
    await engine(m.CreateVolume(name="data"), "first")
    await engine(m.RemoveVolume(name="data"), "second")
    assert bytes((await engine.answer("first")).answer) == b'{"name":"data","created":true}'
    assert bytes((await engine.answer("second")).answer) == b"null"
