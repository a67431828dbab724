"""Which names and blobs an archive of images has."""

import json

import pytest

from events.errors import NotFound
from events.projections.layers import Layer
from handlers.images.saving import SavedImage, chosen, members
from tests.fakes.image_archives import sample

DIFF_ID = "sha256:" + "d" * 64
LAYER = Layer(chain_id=DIFF_ID, diff_id=DIFF_ID, parent="", cache_id="c", driver="fake")


async def test_names_that_are_meant(host):
    await host.load(sample("one", names=("box:1", "box:2", "other:1")), sample("two", names=("box:3",)))
    one, two = host.images
    full = "docker.io/library/"
    assert chosen(host.images, ("box:2",)) == {one.id: (f"{full}box:2",)}
    assert chosen(host.images, ("box",)) == {one.id: (f"{full}box:1", f"{full}box:2"), two.id: (f"{full}box:3",)}
    assert chosen(host.images, (two.id, one.id[7:19])) == {two.id: (), one.id: ()}
    assert chosen(host.images, ("other:1", "box:2", "other:1")) == {one.id: (f"{full}other:1", f"{full}box:2")}
    for name in ("nosuch", "box:9", "sha256:" + "0" * 64):
        with pytest.raises(NotFound):
            chosen(host.images, (name,))


def test_both_forms():
    named = SavedImage(config=b"{}", layers=(LAYER,), names=("docker.io/library/box:1", "reg:5000/a/b:2"))
    nameless = SavedImage(config=b'{"a":1}', layers=(LAYER,), names=())
    found = {member.name: member for member in members((named, nameless), {DIFF_ID: 4711})}
    assert found[f"blobs/sha256/{'d' * 64}"].size == 4711
    assert sum(member.layer is not None for member in found.values()) == 1
    listed = json.loads(found["manifest.json"].content)
    assert [image["RepoTags"] for image in listed] == [["box:1", "reg:5000/a/b:2"], None]
    index = json.loads(found["index.json"].content)
    assert [entry.get("annotations", {}).get("org.opencontainers.image.ref.name") for entry in index["manifests"]] == [
        "1", "2", None,
    ]  # fmt: skip
    top = "d" * 64
    assert found[f"{top}/layer.tar"].link == f"../blobs/sha256/{top}"
    assert json.loads(found["repositories"].content) == {"box": {"1": top}, "reg:5000/a/b": {"2": top}}


def test_without_names_there_are_no_repositories():
    nameless = SavedImage(config=b"{}", layers=(), names=())
    assert "repositories" not in {member.name for member in members((nameless,), {})}
