"""Tags: a name belongs to one image, and moves in one step."""

import anyio
import pytest

from events.errors import InvalidParameter, NotFound
from events.messages import image as m
from tests.fakes.image_archives import sample

ONE, TWO = sample("one", names=["one:1"]), sample("two", names=["two:1"])
NAME = "docker.io/library/name:1"


async def test_an_image_gets_a_further_name_by_name_id_or_prefix(host):
    await host.load(ONE)
    for number, source in enumerate(
        ("one:1", ONE.id, ONE.id[7:], ONE.id[7:15], ONE.id[:15], "docker.io/library/one:1")
    ):
        await host.engine.send(m.TagImage(source=source, reference=f"docker.io/library/t:{number}"))
    assert len(host.images.get(ONE.id).references) == 7
    events = await host.engine.events()
    assert events[-1] == m.ImageTagged(image_id=ONE.id, reference="docker.io/library/t:5")


async def test_a_name_moves_with_its_claim_in_one_step(host):
    await host.load(ONE, TWO)
    await host.engine.send(m.TagImage(source="one:1", reference=NAME))
    await host.engine.send(m.TagImage(source="two:1", reference=NAME))
    assert host.images.named(NAME).id == TWO.id
    assert NAME not in host.images.get(ONE.id).references
    assert await host.engine.log.claim_holder(f"reference/{NAME}") == f"image/{TWO.id}"
    untagged, tagged = (await host.engine.events())[-2:]
    assert untagged == m.ImageUntagged(image_id=ONE.id, reference=NAME, moved=True)
    assert tagged == m.ImageTagged(image_id=TWO.id, reference=NAME)


async def test_many_that_want_one_name_leave_one_owner(host):
    await host.load(ONE, TWO)
    async with anyio.create_task_group() as tasks:
        for source in ("one:1", "two:1") * 5:
            tasks.start_soon(host.engine.send, m.TagImage(source=source, reference=NAME))
    owner = await host.engine.log.claim_holder(f"reference/{NAME}")
    assert owner == f"image/{host.images.named(NAME).id}"
    assert sum(NAME in image.references for image in host.images) == 1


async def test_the_same_name_again_is_fine(host):
    await host.load(ONE)
    for _ in range(2):
        await host.engine.send(m.TagImage(source="one:1", reference="docker.io/library/one:1"))
    assert host.images.get(ONE.id).references == ("docker.io/library/one:1",)


@pytest.mark.parametrize(
    ("source", "reference", "kind", "message"),
    [
        ("nosuch", NAME, NotFound, "No such image: nosuch:latest"),
        ("sha256:" + "0" * 64, NAME, NotFound, "No such image: sha256:" + "0" * 64),
        ("0" * 64, NAME, NotFound, "No such image: sha256:" + "0" * 64),
        ("one:1", "A", InvalidParameter, "invalid reference format: repository name (library/A) must be lowercase"),
        ("one:1", "x@sha256:" + "0" * 64, InvalidParameter, "refusing to create a tag with a digest reference"),
        ("Bad", NAME, InvalidParameter, "invalid reference format: repository name (library/Bad) must be lowercase"),
    ],
)  # fmt: skip
async def test_a_bad_tag_is_refused_in_dockers_words(host, source, reference, kind, message):
    await host.load(ONE)
    with pytest.raises(kind) as refusal:
        await host.engine.send(m.TagImage(source=source, reference=reference))
    assert str(refusal.value) == message


async def test_a_container_holds_an_image_once_and_lets_it_go(host):
    await host.load(ONE)
    acquire = m.AcquireImage(image_id=ONE.id, container_id="c")
    release = m.ReleaseImage(image_id=ONE.id, container_id="c")
    await host.engine.send(acquire)
    await host.engine.send(acquire)
    assert host.images.users(ONE.id) == {"c"}
    await host.engine.send(release)
    await host.engine.send(release)
    assert host.images.users(ONE.id) == set()
    assert (await host.engine.names())[-2:] == ["image.acquired", "image.released"]
    await host.engine.send(m.ReleaseImage(image_id=TWO.id, container_id="c"))
    with pytest.raises(NotFound):
        await host.engine.send(m.AcquireImage(image_id=TWO.id, container_id="c"))
