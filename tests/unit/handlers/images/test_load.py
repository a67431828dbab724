"""Loads: the two forms of archives, what is verified, what is told, and that nothing half is left."""

import json

import anyio
import pytest
import zstandard

from events.errors import InvalidParameter
from events.messages import image as m
from events.messages.layer import ApplyLayer
from handlers.images.platforms import host_platform
from tests.fakes.image_archives import OciLayout, SampleImage, docker_archive, layer, sample, write
from tests.fakes.tars import TarBuilder, digest, gzipped

HOST_ARCHITECTURE = host_platform().architecture
BUSYBOX = "docker.io/library/busybox:latest"


async def test_an_archive_brings_its_images_with_names_and_layers(host):
    image = sample("base", "top", names=["busybox:latest", "reg:5000/bb:1"])
    assert await host.load(image) == ("Loaded image: busybox:latest", "Loaded image: reg:5000/bb:1")
    found = host.images.named(BUSYBOX)
    assert found.id == image.id
    assert found is host.images.named("reg:5000/bb:1")
    assert host.opened(image.id).config.config.cmd == ("sh",)
    assert found.size_bytes == len("base") + len("top")
    assert [host.engine.state.layers.get(chain).diff_id for chain in found.layers] == list(map(digest, image.layers))
    assert (host.content / image.id.removeprefix("sha256:")).read_bytes() == image.content


async def test_the_story_of_a_load(host):
    image = sample("base", names=["busybox:latest"])
    await host.load(image)
    assert await host.engine.names() == [
        "image.create_requested",
        "layer.apply_requested",
        "layer.applied",
        "image.created",
        "image.tagged",
        "image.loaded",
    ]
    events = await host.engine.events()
    assert events[4] == m.ImageTagged(image_id=image.id, reference=BUSYBOX, asked=False)
    assert events[5] == m.ImageLoaded(image_id=image.id, name=image.id)


async def test_an_image_without_a_name_is_told_by_id(host):
    image = sample("base")
    assert await host.load(image) == (f"Loaded image ID: {image.id}",)


async def test_several_images_share_layers(host):
    one, two = sample("base", "a", names=["one:1"]), sample("base", "b", names=["two:2"])
    assert await host.load(one, two) == ("Loaded image: one:1", "Loaded image: two:2")
    assert await host.kept() == (2, 3, 2)
    base = host.engine.state.layers.get(digest(layer("base")))
    assert base.holders == {one.id, two.id}


def squashed(base: SampleImage, image: SampleImage) -> bytes:
    """As docker-squash writes an image: what it found below it isn't where the manifest says."""
    tar = TarBuilder().file("top/layer.tar", image.layers[-1]).file("config.json", image.content)
    layers = [f"blobs/sha256/{digest(layer).removeprefix('sha256:')}" for layer in base.layers]
    manifest = [{"Config": "config.json", "RepoTags": list(image.names), "Layers": [*layers, "top/layer.tar"]}]
    return tar.file("manifest.json", json.dumps(manifest)).bytes()


async def test_a_layer_that_is_here_needs_not_come_along(host):
    base, image = sample("base", names=["base:1"]), sample("base", "top", names=["top:1"])
    absent = f"blobs/sha256/{digest(base.layers[0]).removeprefix('sha256:')}: no such file in the archive"
    with pytest.raises(InvalidParameter) as refusal:
        await host.load_bytes(squashed(base, image))
    assert str(refusal.value) == absent
    assert await host.kept() == (0, 0, 0)
    await host.load(base)
    assert await host.load_bytes(squashed(base, image)) == ("Loaded image: top:1",)
    await host.remove("base:1")
    assert await host.kept() == (1, 2, 1)


async def test_loading_again_changes_nothing_but_the_story(host):
    image = sample("base", names=["busybox:latest"])
    first = await host.load(image)
    assert await host.load(image) == first
    assert await host.kept() == (1, 1, 1)
    assert (await host.engine.names())[-2:] == ["image.tagged", "image.loaded"]


async def test_two_loads_of_one_image_at_once(host):
    image = sample("base", names=["busybox:latest"])
    lines = []

    async def load(name):
        loaded = await host.engine.send(m.LoadImages(path=write(host.directory, docker_archive(image), name)))
        lines.append(loaded.lines)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load, "a")
        tasks.start_soon(load, "b")
    assert lines == [("Loaded image: busybox:latest",)] * 2
    assert (await host.engine.names()).count("image.created") == 1


async def test_a_name_that_another_image_has_moves(host):
    old, new = sample("old", names=["busybox:latest"]), sample("new", names=["busybox:latest"])
    await host.load(old)
    assert await host.load(new) == (
        f"The image busybox:latest already exists, renaming the old one with ID {old.id} to empty string",
        "Loaded image: busybox:latest",
    )
    assert host.images.named(BUSYBOX).id == new.id
    assert host.images.get(old.id).references == ()
    untagged = m.ImageUntagged(image_id=old.id, reference=BUSYBOX, moved=True)
    assert untagged in await host.engine.events()
    assert await host.engine.log.claim_holder(f"reference/{BUSYBOX}") == f"image/{new.id}"


@pytest.mark.parametrize("form", ["gzip", "zstd"])
async def test_a_compressed_archive_is_expanded_for_a_while(host, form):
    content = docker_archive(sample("base", names=["x:1"]))
    packed = gzipped(content) if form == "gzip" else zstandard.ZstdCompressor().compress(content)
    assert await host.load_bytes(packed) == ("Loaded image: x:1",)
    assert list(host.scratch.iterdir()) == []


@pytest.mark.parametrize("pack", [gzipped, zstandard.ZstdCompressor().compress])
async def test_an_oci_layout_with_compressed_layers(host, pack):
    image, layout = sample("base", "top"), OciLayout()
    annotations = {"io.containerd.image.name": BUSYBOX, "org.opencontainers.image.ref.name": "latest"}
    manifest = layout.manifest(image, layers=[pack(content) for content in image.layers], annotations=annotations)
    assert await host.load_bytes(layout.archive(manifest)) == ("Loaded image: busybox:latest",)
    assert host.images.named(BUSYBOX).id == image.id


@pytest.mark.parametrize(
    ("annotation", "line"),
    [
        ("a/b:1", "Loaded image: a/b:1"),
        ("reg:5000/x", "Loaded image: reg:5000/x:latest"),
        ("latest", f"Loaded image ID: {sample('base').id}"),
    ],
)
async def test_a_bare_tag_in_an_annotation_names_nothing(host, annotation, line):
    layout = OciLayout()
    manifest = layout.manifest(sample("base"), annotations={"org.opencontainers.image.ref.name": annotation})
    assert await host.load_bytes(layout.archive(manifest)) == (line,)


async def test_of_several_platforms_this_hosts_is_taken(host):
    here, there, layout = sample("amd"), sample("arm", architecture="arm64"), OciLayout()
    attestation = {"vnd.docker.reference.type": "attestation-manifest"}
    nested = layout.index(
        layout.manifest(there, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        layout.manifest(here, platform={"os": "linux", "architecture": HOST_ARCHITECTURE}),
        layout.manifest(sample("x"), platform={"os": "unknown", "architecture": "unknown"}, annotations=attestation),
    )
    outer = layout.index(nested, annotations={"io.containerd.image.name": BUSYBOX})
    await host.load_bytes(layout.archive(outer))
    assert [image.id for image in host.images] == [here.id]
    assert host.images.named(BUSYBOX) is not None


async def test_no_fitting_platform_is_an_error(host):
    layout = OciLayout()
    nested = layout.index(
        layout.manifest(sample("a"), platform={"os": "linux", "architecture": "mips"}),
        layout.manifest(sample("b"), platform={"os": "linux", "architecture": "sparc"}),
    )
    with pytest.raises(InvalidParameter, match="no matching manifest for linux/"):
        await host.load_bytes(layout.archive(nested))


def lying_layout() -> bytes:
    layout = OciLayout()
    manifest = layout.manifest(sample("base"))
    name = next(iter(layout.blobs))
    layout.blobs[name] = layout.blobs[name].replace(b"amd64", b"amd65")
    return layout.archive(manifest)


def docker_archive_with(config: bytes, **fields: object) -> bytes:
    manifest = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": []} | fields]
    return TarBuilder().file("c.json", config).file("manifest.json", json.dumps(manifest)).bytes()


EMPTY_CONFIG = b'{"os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}'
WRONG_LAYER = SampleImage(layers=(layer("a"),), diff_ids=(digest(b"other"),), names=("x:1",))
BAD = {
    "junk": (b"junk", "unexpected EOF"),
    "long junk": (b"x" * 4096, "archive/tar: invalid tar header"),
    "nothing": (b"", "unexpected EOF"),
    "another tar": (TarBuilder().file("x").bytes(), "unrecognized image format"),
    "cut off gzip": (gzipped(docker_archive(sample("a")))[:-20], "unexpected EOF"),
    "bad manifest": (TarBuilder().file("manifest.json", "{").bytes(), "manifest.json: "),
    "manifest of another shape": (TarBuilder().file("manifest.json", "[5]").bytes(), "manifest.json: "),
    "no configuration": (TarBuilder().file("manifest.json", '[{"Config": "c"}]').bytes(), "c: no such file"),
    "bad configuration": (docker_archive_with(b"[]"), "invalid image configuration"),
    "windows": (docker_archive_with(b'{"os": "windows"}'), "cannot load windows image on linux"),
    "too few layers": (
        docker_archive_with(b'{"rootfs": {"type": "layers", "diff_ids": ["sha256:0"]}}'),
        "layers length mismatch: expected 1, got 0",
    ),
    "layer that isn't there": (
        docker_archive_with(b'{"rootfs": {"type": "layers", "diff_ids": ["sha256:0"]}}', Layers=["a/layer.tar"]),
        "a/layer.tar: no such file",
    ),
    "bad tag": (docker_archive_with(EMPTY_CONFIG, RepoTags=["Bad:1"]), "must be lowercase"),
    "tag without a tag": (docker_archive_with(EMPTY_CONFIG, RepoTags=["x"]), 'invalid tag "x"'),
    "another layer than promised": (docker_archive(WRONG_LAYER), "invalid diffID for layer"),
    "links in a circle": (
        TarBuilder().symlink("manifest.json", "b").symlink("b", "manifest.json").bytes(),
        "manifest.json: no such file",
    ),
    "configuration that isn't its digest": (lying_layout(), "digest mismatch"),
    "empty index": (OciLayout().archive(), "names no image"),
    "odd digest": (OciLayout().archive({"digest": "md5:1"}), "unsupported digest"),
    "escaping digest": (OciLayout().archive({"digest": "sha256:../../x"}), "unsupported digest"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_archive_is_refused_and_leaves_nothing(host, name):
    content, message = BAD[name]
    with pytest.raises(InvalidParameter) as refusal:
        await host.load_bytes(content)
    assert message in str(refusal.value)
    assert await host.kept() == (0, 0, 0)
    assert not host.scratch.exists() or list(host.scratch.iterdir()) == []


async def test_a_bad_layer_takes_the_good_ones_below_with_it(host):
    image = SampleImage(layers=(layer("a"), layer("b")), diff_ids=(digest(layer("a")), digest(b"other")))
    with pytest.raises(InvalidParameter):
        await host.load(image)
    assert await host.kept() == (0, 0, 0)
    names = await host.engine.names()
    assert names[-1] == "image.create_failed"
    assert "layer.removed" in names


async def test_images_before_a_bad_one_stay(host):
    with pytest.raises(InvalidParameter):
        await host.load(sample("good", names=["good:1"]), WRONG_LAYER)
    assert [image.references for image in host.images] == [("docker.io/library/good:1",)]


async def test_boot_undoes_an_interrupted_load(host):
    image = sample("base", names=["x:1"])
    await host.engine.append(f"image/{image.id}", m.ImageCreateRequested(image_id=image.id, origin="load"))
    path = write(host.directory, image.layers[0], "layer.tar")
    await host.engine.send(ApplyLayer(path=path, holder=image.id))
    host.content.mkdir(parents=True)
    (host.content / image.id.removeprefix("sha256:")).write_bytes(image.content)
    (host.content / "stray.new").write_bytes(b"")
    await host.engine.reconcile()
    assert await host.kept() == (0, 0, 0)
    assert "system.orphan_removed" in await host.engine.names()
    assert await host.load(image) == ("Loaded image: x:1",)


async def test_a_load_settles_what_an_earlier_one_left(host):
    image = sample("base", names=["x:1"])
    await host.engine.append(f"image/{image.id}", m.ImageCreateRequested(image_id=image.id, origin="load"))
    assert await host.load(image) == ("Loaded image: x:1",)
    assert (await host.engine.names())[1] == "image.create_failed"
