"""Layers by command: intents and outcomes, holders, what is shared, what a crash leaves."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from events.errors import EngineError, InvalidParameter, NotFound, SystemFailure
from events.messages import layer as m
from events.messages.system import OrphanRemoved
from handlers.layers import decide
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.errors import LayerNotHeld, NoSuchLayer, WrongDigest
from handlers.layers.handler import LayerHandler
from handlers.layers.ports import Below, Unpacked, complete
from tests.fakes.graph_driver import FakeGraphDriver, PausingDriver
from tests.fakes.refusing_log import RefusingLog
from tests.fakes.sender import Engine, SteppingClock
from tests.fakes.tars import TarBuilder, digest, gzipped

LIMIT_S = 10.0
IMAGE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Host:
    """An engine with layers only, and tars to make them of."""

    def __init__(self, directory: Path, driver: FakeGraphDriver | None = None) -> None:
        self.directory = directory
        self.driver = driver or FakeGraphDriver(directory)
        self.log = RefusingLog(SteppingClock())
        self.engine = Engine(LayerHandler(self.driver, HelperFiles(self.driver, directory)), log=self.log)

    def tar(self, name: str) -> tuple[str, str]:
        """A layer with one file: its path and its digest."""
        path = TarBuilder().file(name, name).write(self.directory / f"{name}.tar")
        return str(path), digest(path.read_bytes())

    async def apply(self, name: str, parent: str = "", holder: str = IMAGE, expected: str | None = None) -> str:
        path, diff_id = self.tar(name)
        command = m.ApplyLayer(
            path=path, parent=parent, holder=holder, expected_diff_id=diff_id if expected is None else expected
        )
        applied: m.AppliedLayer = await self.engine.send(command)
        assert applied.diff_id == diff_id
        assert applied.size_bytes == len(name)
        return applied.chain_id


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class StuckDriver(FakeGraphDriver):
    """Unpacks, then never returns; what it has made stays."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached = anyio.Event()

    @override
    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        await super().unpack(cache_id, lineage, path, offset, length, below)
        self.reached.set()
        await anyio.sleep_forever()
        raise AssertionError


class StubbornDriver(FakeGraphDriver):
    """Fails to remove a given number of times, and always what is stuck."""

    def __init__(self, root: Path, failures: int = 0) -> None:
        super().__init__(root)
        self.failures = failures
        self.stuck: set[str] = set()
        self.calls = 0

    @override
    async def remove(self, *cache_ids: str) -> None:
        self.calls += 1
        if self.failures or self.stuck.intersection(cache_ids):
            self.failures = max(0, self.failures - 1)
            raise SystemFailure("device or resource busy")
        await super().remove(*cache_ids)


def test_chain_ids_are_those_of_the_image_specification():
    base, upper = digest(b"base"), digest(b"upper")
    assert decide.chain_id("", base) == base
    assert decide.chain_id(base, upper) == digest(f"{base} {upper}".encode())


async def test_a_layer_is_announced_then_made_then_told(host):
    chain = await host.apply("a")
    requested, applied = await host.engine.events()
    assert isinstance(requested, m.LayerApplyRequested)
    assert (requested.chain_id, requested.parent, requested.holder) == (chain, "", IMAGE)
    assert applied == m.LayerApplied(chain_id=chain, size_bytes=1, disk_bytes=1)
    assert await host.driver.list() == {requested.cache_id}
    answer = await host.engine.reply("command-1")
    assert answer["answer"]["chain_id"] == chain


async def test_a_layer_that_is_there_is_only_held(host):
    first = await host.apply("a")
    assert await host.apply("a", holder=OTHER) == first
    assert await host.apply("a", holder=OTHER) == first
    assert await host.engine.names() == ["layer.apply_requested", "layer.applied", "layer.held"]
    assert len(await host.driver.list()) == 1


async def test_two_that_want_the_same_layer_get_one(host):
    async with anyio.create_task_group() as tasks:
        for holder in (IMAGE, OTHER):
            tasks.start_soon(host.apply, "a", "", holder)
    assert await host.engine.names() == ["layer.apply_requested", "layer.applied", "layer.held"]


async def test_layers_are_made_at_once_and_told_of_from_the_bottom(tmp_path):
    driver = PausingDriver(tmp_path)
    host = Host(tmp_path, driver)
    lower, upper = (host.tar(name)[1] for name in ("a", "b"))
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(LIMIT_S):
            tasks.start_soon(host.apply, "a")
            await driver.reached.wait()
            tasks.start_soon(host.apply, "b", lower)
            while len(host.engine.state.layers) < 2:
                await anyio.lowlevel.checkpoint()
        driver.go_on.set()
    told = [event.chain_id for event in await host.engine.events() if isinstance(event, m.LayerApplied)]
    assert told == [lower, decide.chain_id(lower, upper)]


async def test_a_layer_fails_with_the_one_below_it(tmp_path):
    driver = PausingDriver(tmp_path)
    host = Host(tmp_path, driver)
    wrong = digest(b"other")

    async def fails(name: str, parent: str, expected: str | None, kind: type[EngineError]) -> None:
        with pytest.raises(kind):
            await host.apply(name, parent, expected=expected)

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(LIMIT_S):
            tasks.start_soon(fails, "a", "", wrong, WrongDigest)
            await driver.reached.wait()
            tasks.start_soon(fails, "b", wrong, None, NoSuchLayer)
            while len(host.engine.state.layers) < 2:
                await anyio.lowlevel.checkpoint()
        driver.go_on.set()
    assert len(host.engine.state.layers) == 0
    assert await driver.list() == frozenset()


async def test_any_digest_may_be_accepted(host):
    _, diff_id = host.tar("a")
    squeezed = host.directory / "squeezed"
    squeezed.write_bytes(b"head" + gzipped((host.directory / "a.tar").read_bytes()) + b"tail")
    length = squeezed.stat().st_size - 8
    applied = await host.engine.send(m.ApplyLayer(path=str(squeezed), offset=4, length=length, holder=IMAGE))
    assert applied.diff_id == diff_id


async def test_a_wrong_digest_leaves_nothing_but_the_story(host):
    with pytest.raises(WrongDigest):
        await host.apply("a", expected=digest(b"other"))
    assert await host.engine.names() == ["layer.apply_requested", "layer.apply_failed"]
    assert await host.driver.list() == frozenset()
    assert len(host.engine.state.layers) == 0


@pytest.mark.parametrize("expected", ["junk", "sha256:xyz", "sha256:" + "A" * 64, "md5:" + "a" * 32])
async def test_what_is_no_digest_is_refused_before_anything_happens(host, expected):
    with pytest.raises(InvalidParameter):
        await host.apply("a", expected=expected)
    assert await host.engine.events() == []


async def test_a_bad_archive_leaves_nothing_but_the_story(host):
    path = host.directory / "junk"
    path.write_bytes(b"junk")
    with pytest.raises(InvalidParameter):
        await host.engine.send(m.ApplyLayer(path=str(path), holder=IMAGE))
    assert await host.engine.names() == ["layer.apply_requested", "layer.apply_failed"]
    assert await host.apply("a")


async def test_the_layer_below_must_be_there_and_held(host):
    base = await host.apply("a")
    with pytest.raises(NotFound):
        await host.apply("b", parent=digest(b"unknown"))
    with pytest.raises(LayerNotHeld):
        await host.apply("b", parent=base, holder=OTHER)
    assert await host.apply("b", parent=base)


async def test_released_layers_go_children_first_and_shared_ones_stay(host):
    base = await host.apply("a")
    middle = await host.apply("b", parent=base)
    top = await host.apply("c", parent=middle)
    await host.apply("a", holder=OTHER)
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    removed = [event.chain_id for event in await host.engine.events() if isinstance(event, m.LayerRemoved)]
    assert removed == [top, middle]
    assert [layer.chain_id for layer in host.engine.state.layers] == [base]
    assert len(await host.driver.list()) == 1
    await host.engine.send(m.ReleaseLayers(holder=OTHER))
    await host.engine.send(m.ReleaseLayers(holder=OTHER))
    assert await host.driver.list() == frozenset()
    assert await host.apply("a") == base


async def test_a_cancelled_apply_is_undone(tmp_path):
    host = Host(tmp_path, StuckDriver(tmp_path))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.apply, "a")
        await host.driver.reached.wait()  # type: ignore[attr-defined]
        tasks.cancel_scope.cancel()
    assert await host.engine.names() == ["layer.apply_requested", "layer.apply_failed"]
    assert await host.driver.list() == frozenset()


async def test_an_undo_that_failed_is_tried_again_by_who_wants_the_layer(tmp_path):
    host = Host(tmp_path, StubbornDriver(tmp_path, failures=1))
    _, diff_id = host.tar("a")
    path, _ = host.tar("b")
    with pytest.raises(WrongDigest):
        await host.engine.send(m.ApplyLayer(path=path, expected_diff_id=diff_id, holder=IMAGE))
    assert host.engine.state.layers.get(diff_id) is not None
    assert await host.apply("a") == diff_id
    expected = ["layer.apply_requested", "layer.apply_failed", "layer.apply_requested", "layer.applied"]
    assert await host.engine.names() == expected
    assert len(await host.driver.list()) == 1


async def test_a_removal_that_failed_is_tried_again(tmp_path):
    host = Host(tmp_path, StubbornDriver(tmp_path, failures=1))
    chain = await host.apply("a")
    with pytest.raises(SystemFailure):
        await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    layer = host.engine.state.layers.get(chain)
    assert layer is not None
    assert layer.status == "removing"
    await host.engine.reconcile()
    assert len(host.engine.state.layers) == 0
    assert await host.driver.list() == frozenset()


async def test_boot_settles_what_was_begun_and_removes_what_nobody_knows(host):
    chain = await host.apply("a")
    requested = m.LayerApplyRequested(
        chain_id=digest(b"x"), diff_id=digest(b"x"), parent=chain, cache_id="c0ffee", driver="fake", holder=IMAGE
    )
    await host.engine.append(f"layer/{requested.chain_id}", requested)
    for cache_id in ("c0ffee", "stray", "container-gone"):
        await host.driver.create(cache_id, [])
    await host.engine.reconcile()
    layer = host.engine.state.layers.get(chain)
    assert layer is not None
    assert [one.chain_id for one in host.engine.state.layers] == [chain]
    assert await host.driver.list() == {layer.cache_id}
    events = await host.engine.events()
    assert m.LayerApplyFailed(chain_id=requested.chain_id, error="the engine was interrupted") in events
    orphans = [event.name for event in events if isinstance(event, OrphanRemoved)]
    assert orphans == ["container-gone", "stray"]


async def test_boot_leaves_alone_what_is_made_again_beside_it(tmp_path):
    driver = PausingDriver(tmp_path)
    host = Host(tmp_path, driver)
    _, diff_id = host.tar("a")
    requested = m.LayerApplyRequested(
        chain_id=diff_id, diff_id=diff_id, parent="", cache_id="c0ffee", driver="fake", holder=IMAGE
    )
    await host.engine.append(f"layer/{diff_id}", requested)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.apply, "a")
            await driver.reached.wait()
            tasks.start_soon(host.engine.reconcile)
            await anyio.wait_all_tasks_blocked()
            driver.go_on.set()
    layer = host.engine.state.layers.get(diff_id)
    assert layer is not None
    assert layer.status == "ready"
    assert await driver.list() == {layer.cache_id}


async def test_boot_finishes_an_interrupted_release(host):
    base = await host.apply("a")
    await host.apply("b", parent=base)
    for layer in tuple(host.engine.state.layers):
        released = m.LayerReleased(chain_id=layer.chain_id, holder=IMAGE)
        await host.engine.append(f"layer/{layer.chain_id}", released)
    await host.engine.reconcile()
    assert len(host.engine.state.layers) == 0
    assert await host.driver.list() == frozenset()


async def test_boot_goes_on_when_one_layer_is_stuck(tmp_path):
    host = Host(tmp_path, StubbornDriver(tmp_path, failures=1))
    for name in ("a", "b"):
        chain = await host.apply(name)
        await host.engine.append(f"layer/{chain}", m.LayerReleased(chain_id=chain, holder=IMAGE))
    await host.engine.reconcile()
    assert [layer.status for layer in host.engine.state.layers] == ["removing"]
    await host.engine.reconcile()
    assert len(host.engine.state.layers) == 0


async def test_layers_of_another_driver_are_left_alone(host):
    requested = m.LayerApplyRequested(
        chain_id=digest(b"x"), diff_id=digest(b"x"), parent="", cache_id="c0ffee", driver="btrfs", holder=IMAGE
    )
    await host.engine.append(f"layer/{requested.chain_id}", requested)
    await host.engine.append(f"layer/{requested.chain_id}", m.LayerApplied(chain_id=requested.chain_id, size_bytes=1))
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    await host.engine.reconcile()
    assert host.engine.state.layers.get(requested.chain_id) is not None
    with pytest.raises(SystemFailure, match="storage driver btrfs"):
        await host.engine.send(m.CreateContainerLayer(container_id="c", parent=requested.chain_id))


async def test_a_containers_layer_lives_from_create_to_remove(host):
    base = await host.apply("a")
    await host.engine.send(m.CreateContainerLayer(container_id="c", parent=base))
    assert "container-c" in await host.driver.list()
    for _ in range(2):
        await host.engine.send(m.UnmountContainerLayer(container_id="c"))
        await host.engine.send(m.RemoveContainerLayer(container_id="c"))
    assert "container-c" not in await host.driver.list()
    with pytest.raises(NotFound):
        await host.engine.send(m.CreateContainerLayer(container_id="c", parent=digest(b"unknown")))
    with pytest.raises(NotFound):
        await host.engine.send(m.MountContainerLayer(container_id="unknown"))


async def test_a_release_waits_for_what_is_applied_for_its_holder(tmp_path):
    driver = PausingDriver(tmp_path)
    host = Host(tmp_path, driver)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.apply, "a", "", OTHER)
            await driver.reached.wait()
            tasks.start_soon(host.apply, "a", "", IMAGE)  # waits for the other to have made it
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(host.engine.send, m.ReleaseLayers(holder=IMAGE))
            await anyio.wait_all_tasks_blocked()
            driver.go_on.set()
    assert [layer.holders for layer in host.engine.state.layers] == [{OTHER}]


async def test_a_removal_waits_for_the_creation_of_the_layer(tmp_path):
    driver = PausingDriver(tmp_path)
    host = Host(tmp_path, driver)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.engine.send, m.CreateContainerLayer(container_id="c", parent=""))
            await driver.reached.wait()
            tasks.start_soon(host.engine.send, m.RemoveContainerLayer(container_id="c"))
            await anyio.wait_all_tasks_blocked()
            assert await driver.list() == {"container-c"}
            driver.go_on.set()
    assert await driver.list() == frozenset()


async def test_a_layer_whose_ancestor_is_unknown_is_no_layer(host):
    chain, absent = digest(b"x"), digest(b"y")
    requested = m.LayerApplyRequested(
        chain_id=chain, diff_id=chain, parent=absent, cache_id="c0ffee", driver="fake", holder=IMAGE
    )
    await host.engine.append(f"layer/{chain}", requested, m.LayerApplied(chain_id=chain, size_bytes=1))
    with pytest.raises(NoSuchLayer, match=absent):
        await host.engine.send(m.CreateContainerLayer(container_id="c", parent=chain))
    assert [layer.chain_id for layer in host.engine.state.layers.lineage(chain)] == [chain]


async def test_a_layer_that_is_read_stays_until_the_reader_is_done(host):
    chain = await host.apply("a")
    reader = f"{m.READING}1"
    assert len((await host.engine.send(m.HoldLayers(chain_ids=(chain,), holder=reader))).sizes_bytes) == 1
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    assert len(await host.driver.list()) == 1
    await host.engine.send(m.ReleaseLayers(holder=reader))
    assert await host.driver.list() == frozenset()


async def test_layers_are_held_at_once_up_to_the_first_that_isnt_there(host):
    lower = await host.apply("a")
    upper = await host.apply("b", lower)
    before = await host.engine.names()
    asked = (lower, digest(b"nowhere"), upper)
    held = await host.engine.send(m.HoldLayers(chain_ids=asked, holder=OTHER))
    layer = host.engine.state.layers.get(lower)
    assert layer is not None
    assert held.sizes_bytes == (layer.size_bytes,)
    assert [each.chain_id for each in host.engine.state.layers.held_by(OTHER)] == [lower]
    held = await host.engine.send(m.HoldLayers(chain_ids=(lower, upper), holder=OTHER))
    assert len(held.sizes_bytes) == 2
    assert await host.engine.names() == [*before, "layer.held", "layer.held"]


async def test_who_holds_waits_for_a_removal_that_failed(tmp_path):
    host = Host(tmp_path, StubbornDriver(tmp_path, failures=1))
    chain = await host.apply("a")
    with pytest.raises(SystemFailure):
        await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    held = await host.engine.send(m.HoldLayers(chain_ids=(chain,), holder=OTHER))
    assert held.sizes_bytes == ()
    assert (await host.engine.names())[-1] == "layer.removed"


async def test_readers_dont_outlive_the_engine(host):
    chain = await host.apply("a")
    kept = await host.apply("b")
    await host.engine.send(m.HoldLayers(chain_ids=(chain, kept), holder=f"{m.READING}1"))
    await host.engine.send(m.HoldLayers(chain_ids=(kept,), holder=OTHER))
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    await host.engine.reconcile()
    assert [(layer.chain_id, layer.holders) for layer in host.engine.state.layers] == [(kept, {OTHER})]
    assert len(await host.driver.list()) == 1


async def test_boot_goes_on_when_the_log_refuses_what_became_of_one(host):
    chain = await host.apply("a")
    await host.engine.send(m.HoldLayers(chain_ids=(chain,), holder=f"{m.READING}1"))
    requested = m.LayerApplyRequested(
        chain_id=digest(b"x"), diff_id=digest(b"x"), parent="", cache_id="c0ffee", driver="fake", holder=IMAGE
    )
    await host.engine.append(f"layer/{requested.chain_id}", requested)
    for cache_id in ("c0ffee", "stray", "stray-too"):
        await host.driver.create(cache_id, [])
    host.log.refusals = 1
    await host.engine.reconcile()
    layer = host.engine.state.layers.get(chain)
    assert layer is not None
    assert host.engine.state.layers.get(requested.chain_id) is None
    assert await host.driver.list() == {layer.cache_id}


async def test_boot_removes_all_that_nobody_knows_though_the_log_refuses_one(host):
    for cache_id in ("stray", "stray-too"):
        await host.driver.create(cache_id, [])
    host.log.refusals = 1
    await host.engine.reconcile()
    assert await host.driver.list() == frozenset()
    orphans = {event.name for event in await host.engine.events() if isinstance(event, OrphanRemoved)}
    assert orphans == {"stray", "stray-too"}


async def test_a_stack_is_removed_at_once(host):
    lower = await host.apply("a")
    await host.apply("b", lower)
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    names = (await host.engine.names())[-4:]
    assert names == ["layer.remove_requested"] * 2 + ["layer.removed"] * 2
    assert await host.driver.list() == frozenset()


async def test_a_stack_is_removed_by_one_call(tmp_path):
    driver = StubbornDriver(tmp_path)
    host = Host(tmp_path, driver)
    lower = await host.apply("a")
    upper = await host.apply("b", lower)
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    assert driver.calls == 1
    removed = [event.chain_id for event in await host.engine.events() if isinstance(event, m.LayerRemoved)]
    assert removed == [upper, lower]


async def test_a_layer_that_is_stuck_keeps_no_other(tmp_path):
    driver = StubbornDriver(tmp_path)
    host = Host(tmp_path, driver)
    lower = await host.apply("a")
    upper = await host.apply("b", lower)
    stuck = host.engine.state.layers.get(lower)
    assert stuck is not None
    driver.stuck = {stuck.cache_id}
    with pytest.raises(SystemFailure):
        await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    assert await driver.list() == {stuck.cache_id}
    assert host.engine.state.layers.get(upper) is None
    assert (await host.engine.names())[-1] == "layer.removed"
    driver.stuck = set()
    await host.engine.reconcile()
    assert len(host.engine.state.layers) == 0


async def test_a_stack_is_removed_from_the_top_where_the_driver_needs_it(host):
    host.driver.is_orderless = False
    lower = await host.apply("a")
    upper = await host.apply("b", lower)
    await host.engine.send(m.ReleaseLayers(holder=IMAGE))
    removed = [event.chain_id for event in await host.engine.events() if isinstance(event, m.LayerRemoved)]
    assert removed == [upper, lower]
    assert await host.driver.list() == frozenset()
