"""Images that containers were committed to, and what of them can go: by the rules of dockerd (moby,
daemon/images/image_delete.go and image_prune.go)."""

import pytest

from events.errors import Conflict
from events.messages import image as m
from tests.fakes.image_archives import sample
from tests.fakes.tars import TarBuilder, digest

BASE = sample("base", names=["base:1"])
BASE_NAMES = ("docker.io/library/base:1",)
CONTAINER = "32dfa947843b" + "0" * 52


async def commit(host, parent: str, name: str, reference: str = "") -> str:
    """The id of an image upon another."""
    tar = TarBuilder().file(name, name).bytes()
    path = host.directory / "changes.tar"
    path.write_bytes(tar)
    command = m.CommitImage(
        parent=parent,
        path=str(path),
        diff_id=digest(tar),
        size_bytes=len(tar),
        container_id="c",
        container=m.RunConfig(),
        config=m.RunConfig(),
        reference=reference,
    )
    made: m.CommittedImage = await host.engine.send(command)
    return made.image_id


async def family(host) -> tuple[str, str]:
    """`base:1`, an image without a name upon it, and `child:1` upon that: the ids of the latter two."""
    await host.load(BASE)
    middle = await commit(host, BASE.id, "middle")
    return middle, await commit(host, middle, "child", "child:1")


async def deleted(host, command: m.RemoveImage | m.PruneImage, *family: str) -> list[str]:
    """Which of a family a command takes away, in its order."""
    removed: m.RemovedImage = await host.engine.send(command)
    return [gone for gone in removed.deleted if gone in family]


@pytest.mark.parametrize("force", [False, True])
async def test_by_id_a_child_stands_against_it_even_by_force(host, force):
    await family(host)
    with pytest.raises(Conflict) as refusal:
        await host.remove(BASE.id, force=force)
    assert str(refusal.value) == (
        f"conflict: unable to delete {BASE.id[7:19]} (cannot be forced) - image has dependent child images"
    )
    assert host.images.get(BASE.id).references == BASE_NAMES


async def test_by_its_last_name_a_parent_loses_the_name_only(host):
    await family(host)
    assert await host.remove("base:1") == (("base:1",), ())
    assert host.images.get(BASE.id).status == "ready"


async def test_a_parent_of_a_stopped_container_may_lose_its_last_name_by_force_only(host):
    await family(host)
    await host.container(CONTAINER, BASE.id, running=False)
    with pytest.raises(Conflict, match="is using its referenced image"):
        await host.remove("base:1")
    assert await host.remove("base:1", force=True) == (("base:1",), ())


async def test_parents_without_names_go_with_the_last_child(host):
    middle, child = await family(host)
    assert await deleted(host, m.RemoveImage(name="child:1"), middle, child, BASE.id) == [child, middle]
    assert host.images.get(BASE.id).references == BASE_NAMES
    assert await host.kept() == (1, 1, 1)


async def test_layers_of_parents_are_told_after_them(host):
    middle, child = await family(host)
    base, middle_layer, child_layer = host.images.get(child).layers
    await host.remove("base:1")
    assert await host.remove("child:1") == (
        ("child:1",),
        (child, child_layer, middle, middle_layer, BASE.id, base),
    )
    assert await host.kept() == (0, 0, 0)


async def test_parents_stay_when_they_are_to_be_kept(host):
    middle, child = await family(host)
    keeping = m.RemoveImage(name="child:1", prune=False)
    assert await deleted(host, keeping, middle, child) == [child]
    assert host.images.get(middle).status == "ready"


async def test_a_parent_with_another_child_stays(host):
    middle, child = await family(host)
    sibling = await commit(host, middle, "sibling", "sibling:1")
    assert await deleted(host, m.RemoveImage(name="child:1"), middle, child) == [child]
    assert await deleted(host, m.RemoveImage(name="sibling:1"), middle, sibling) == [sibling, middle]


async def test_a_parent_that_a_container_uses_stays(host):
    middle, child = await family(host)
    await host.container(CONTAINER, middle, running=False)
    assert await deleted(host, m.RemoveImage(name="child:1"), middle, child) == [child]


async def test_a_prune_takes_no_parent_and_then_the_whole_line(host):
    middle, child = await family(host)
    assert await deleted(host, m.PruneImage(image_id=middle), middle, child) == []
    await host.engine.send(m.RemoveImage(name="child:1", prune=False))
    await host.remove("base:1")
    assert await deleted(host, m.PruneImage(image_id=middle), middle, BASE.id) == [middle, BASE.id]
    assert await host.kept() == (0, 0, 0)


async def test_a_prune_of_everything_unnames_a_parent_and_takes_it_with_its_child(host):
    middle, child = await family(host)
    removed: m.RemovedImage = await host.engine.send(m.PruneImage(image_id=BASE.id, dangling=False))
    assert (removed.untagged, removed.deleted) == (("base:1",), ())
    everything = m.PruneImage(image_id=child, dangling=False)
    assert await deleted(host, everything, middle, child, BASE.id) == [child, middle, BASE.id]
    assert await host.kept() == (0, 0, 0)


async def test_an_image_with_a_digest_and_no_tag_is_dangling(host):
    await host.load(sample("bare"))
    (image,) = host.images
    name = f"docker.io/library/x@{digest(b'manifest')}"
    await host.engine.append(f"image/{image.id}", m.ImageTagged(image_id=image.id, reference=name, asked=False))
    removed: m.RemovedImage = await host.engine.send(m.PruneImage(image_id=image.id))
    assert removed.deleted[0] == image.id


async def test_boot_finishes_the_removal_of_a_whole_line(host):
    middle, child = await family(host)
    for image_id in (child, middle):
        await host.engine.append(f"image/{image_id}", m.ImageRemoveRequested(image_id=image_id))
    await host.engine.reconcile()
    assert await host.kept() == (1, 1, 1)


async def test_whoever_comes_from_elsewhere_has_no_parent(host):
    await host.load(sample("other", names=["other:1"]))
    assert host.images.parent(host.images.named("docker.io/library/other:1")) is None
