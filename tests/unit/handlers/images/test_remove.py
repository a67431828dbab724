"""Removals by dockerd's rules and in its words."""

import anyio
import pytest

from events.errors import Conflict, EngineError, NotFound
from events.messages import image as m
from tests.fakes.image_archives import layer, sample
from tests.fakes.tars import digest

ONE = sample("base", "one", names=["one:1"])
TWO = sample("base", "two", names=["two:1", "two:2"])
APART = sample("base", "three", names=["three:1", "other/three:1"])
BARE = sample("base", "bare")
CONTAINER = "32dfa947843b" + "0" * 52
BASE = digest(layer("base"))


async def chains(host, image_id):
    return tuple(reversed(host.images.get(image_id).layers))


async def test_the_last_name_takes_the_image_with_it_layers_top_first(host):
    await host.load(ONE)
    layers = await chains(host, ONE.id)
    assert await host.remove("one:1") == (("one:1",), (ONE.id, *layers))
    assert await host.kept() == (0, 0, 0)
    assert (await host.engine.names())[6 + 2 :] == [
        "image.untagged",
        "image.remove_requested",
        "layer.released",
        "layer.released",
        "layer.remove_requested",
        "layer.remove_requested",
        "layer.removed",
        "layer.removed",
        "image.removed",
    ]
    assert await host.engine.log.claim_holder("reference/docker.io/library/one:1") is None
    assert await host.load(ONE) == ("Loaded image: one:1",)


async def test_shared_layers_stay_and_arent_told(host):
    await host.load(ONE, TWO)
    top, base = await chains(host, ONE.id)
    assert base == BASE
    assert await host.remove("one:1") == (("one:1",), (ONE.id, top))
    assert host.engine.state.layers.get(BASE).holders == {TWO.id}


async def test_one_of_several_names_is_only_untagged(host):
    await host.load(TWO)
    assert await host.remove("two:1") == (("two:1",), ())
    assert host.images.get(TWO.id).references == ("docker.io/library/two:2",)


@pytest.mark.parametrize("length", [12, 64])
async def test_by_id_the_only_name_goes_too(host, length):
    await host.load(ONE)
    untagged, deleted = await host.remove(ONE.id[7 : 7 + length])
    assert untagged == ("one:1",)
    assert deleted[0] == ONE.id
    assert await host.kept() == (0, 0, 0)


async def test_an_image_without_a_name_goes_by_id(host):
    await host.load(BARE)
    assert (await host.remove(BARE.id))[0] == ()
    assert await host.kept() == (0, 0, 0)


@pytest.mark.parametrize("image", [TWO, APART], ids=["two tags", "two repositories"])
async def test_by_id_several_names_need_force(host, image):
    await host.load(image)
    with pytest.raises(Conflict) as refusal:
        await host.remove(image.id)
    short = image.id[7:19]
    assert str(refusal.value) == (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    )
    untagged, deleted = await host.remove(image.id, force=True)
    assert untagged == image.names
    assert deleted[0] == image.id


async def test_a_used_image_keeps_its_last_name_unless_forced(host):
    await host.load(ONE)
    await host.container(CONTAINER, ONE.id, running=False)
    with pytest.raises(Conflict) as refusal:
        await host.remove("one:1")
    assert str(refusal.value) == (
        "conflict: unable to delete one:1 (must be forced) - container 32dfa947843b is using its referenced image "
        f"{ONE.id[7:19]}"
    )
    assert await host.remove("one:1", force=True) == (("one:1",), (ONE.id,))
    with pytest.raises(NotFound):
        await host.remove(ONE.id)
    assert await host.kept() == (1, 2, 1)
    await host.engine.reconcile()
    assert await host.kept() == (1, 2, 1)
    await host.engine.send(m.ReleaseImage(image_id=ONE.id, container_id=CONTAINER))
    assert await host.kept() == (0, 0, 0)


async def test_by_force_a_running_containers_image_loses_its_name_only(host):
    await host.load(ONE)
    await host.container(CONTAINER, ONE.id, running=True)
    assert await host.remove("one:1", force=True) == (("one:1",), ())
    assert host.images.get(ONE.id).status == "ready"


async def test_an_image_removed_from_under_a_container_comes_back_by_load(host):
    await host.load(ONE)
    await host.container(CONTAINER, ONE.id, running=False)
    await host.remove("one:1", force=True)
    assert await host.load(ONE) == ("Loaded image: one:1",)
    assert host.images.named("docker.io/library/one:1").status == "ready"
    await host.engine.send(m.ReleaseImage(image_id=ONE.id, container_id=CONTAINER))
    assert await host.kept() == (1, 2, 1)


async def test_a_used_image_may_lose_one_of_several_names(host):
    await host.load(TWO)
    await host.container(CONTAINER, TWO.id, running=True)
    assert await host.remove("two:1") == (("two:1",), ())


@pytest.mark.parametrize("force", [False, True])
async def test_by_id_a_running_container_stands_against_it_even_by_force(host, force):
    await host.load(ONE)
    await host.container(CONTAINER, ONE.id, running=True)
    with pytest.raises(Conflict) as refusal:
        await host.remove(ONE.id, force=force)
    assert str(refusal.value) == (
        f"conflict: unable to delete {ONE.id[7:19]} (cannot be forced) - "
        "image is being used by running container 32dfa947843b"
    )


async def test_by_id_a_stopped_container_stands_against_it(host):
    await host.load(ONE)
    await host.container(CONTAINER, ONE.id, running=False)
    why = "image is being used by stopped container 32dfa947843b"
    with pytest.raises(Conflict) as refusal:
        await host.remove(ONE.id)
    assert str(refusal.value) == f"conflict: unable to delete {ONE.id[7:19]} (must be forced) - {why}"
    assert await host.remove(ONE.id, force=True) == (("one:1",), (ONE.id,))


@pytest.mark.parametrize("name", ["nosuch", "nosuch:1", "deadbeef"])
async def test_what_isnt_there_is_not_found(host, name):
    with pytest.raises(NotFound) as refusal:
        await host.remove(name)
    assert str(refusal.value) == f"No such image: {name if ':' in name else name + ':latest'}"


async def test_two_removals_at_once_delete_once(host):
    await host.load(ONE)
    results = []

    async def remove():
        try:
            results.append(await host.remove("one:1"))
        except EngineError as error:
            results.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remove)
        tasks.start_soon(remove)
    assert sorted(type(result).__name__ for result in results) == ["NoSuchImage", "tuple"]
    assert await host.kept() == (0, 0, 0)


async def test_boot_finishes_an_interrupted_removal(host):
    await host.load(ONE, TWO)
    await host.engine.append(f"image/{ONE.id}", m.ImageRemoveRequested(image_id=ONE.id))
    await host.engine.reconcile()
    assert await host.kept() == (1, 2, 1)
    assert "image.removed" in await host.engine.names()


async def test_an_ambiguous_prefix_is_refused(host):
    await host.load(*(sample("base", str(number)) for number in range(17)))
    prefixes = [image.id[7] for image in host.images]
    twice = next(prefix for prefix in prefixes if prefixes.count(prefix) > 1)
    with pytest.raises(EngineError) as refusal:
        await host.remove(f"sha256:{twice}")
    assert str(refusal.value) == f"ambiguous reference: sha256:{twice}"


async def test_a_prune_takes_what_is_still_unneeded_only(host):
    await host.load(sample("x", names=("a:1",)))
    (image,) = host.images
    prune = m.PruneImage(image_id=image.id, dangling=True)
    assert (await host.engine.send(prune)).deleted == ()
    await host.container("c" * 64, image.id, running=False)
    everything = m.PruneImage(image_id=image.id, dangling=False)
    assert (await host.engine.send(everything)).deleted == ()
    await host.engine.send(m.ReleaseImage(image_id=image.id, container_id="c" * 64))
    removed = await host.engine.send(everything)
    assert removed.untagged == ("a:1",)
    assert removed.deleted[0] == image.id
    assert await host.kept() == (0, 0, 0)
    assert (await host.engine.send(everything)).deleted == ()
