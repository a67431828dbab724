"""Imports: a file system becomes an image, changed by Dockerfile instructions."""

import json

import pytest

from events.errors import InvalidParameter
from events.messages import image as m
from handlers.images.import_image import rfc3339
from tests.fakes.image_archives import layer, write
from tests.fakes.tars import digest, gzipped

NAME = "docker.io/library/imp:latest"


async def imported(host, content, **fields):
    path = write(host.directory, content)
    answer = await host.engine.send(m.ImportImage(path=path, source=fields.pop("source", "-"), **fields))
    return host.images.get(answer.image_id)


@pytest.mark.parametrize("pack", [bytes, gzipped])
async def test_a_tar_becomes_an_image_of_one_layer(host, pack):
    plain = layer("a", "b")
    image = await imported(host, pack(plain), reference=NAME)
    assert image.config.rootfs.diff_ids == (digest(plain),)
    assert image.layers == (digest(plain),)
    assert image.references == (NAME,)
    assert image.size_bytes == 2
    assert image.config.comment == image.config.history[0].comment == "Imported from -"
    assert image.config.os == "linux"
    assert image.config.created == image.config.history[0].created
    assert (await host.engine.names())[-3:] == ["image.created", "image.tagged", "image.imported"]


async def test_the_configuration_is_kept_byte_for_byte(host):
    image = await imported(host, layer("a"), changes=("ENV A=b", "EXPOSE 80"), message="from a friend")
    content = (host.content / image.id.removeprefix("sha256:")).read_bytes()
    assert digest(content) == image.id
    tree = json.loads(content)
    assert tree["config"] == {"Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}}
    assert tree["history"] == [{"created": image.config.created, "comment": "from a friend"}]
    assert tree["rootfs"]["type"] == "layers"
    assert "author" not in tree


async def test_without_a_name_it_has_none(host):
    image = await imported(host, layer("a"), source="https://example.com/x.tar")
    assert image.references == ()
    assert image.config.comment == "Imported from https://example.com/x.tar"


async def test_a_platform_may_be_given(host):
    image = await imported(host, layer("a"), platform="linux/arm64/v8")
    assert (image.config.os, image.config.architecture, image.config.variant) == ("linux", "arm64", "v8")


@pytest.mark.parametrize(
    "fields",
    [
        {"changes": ("RUN x",)},
        {"platform": "windows/amd64"},
        {"platform": "linux//x"},
        {"reference": "Bad"},
    ],
)
async def test_a_bad_request_is_refused_before_anything_happens(host, fields):
    with pytest.raises(InvalidParameter):
        await imported(host, layer("a"), **fields)
    assert await host.engine.events() == []


@pytest.mark.parametrize("content", [b"junk", layer("x")[:700], gzipped(layer("a"))[:-8]])
async def test_a_bad_tar_leaves_nothing(host, content):
    with pytest.raises(InvalidParameter):
        await imported(host, content, reference=NAME)
    assert await host.kept() == (0, 0, 0)
    assert host.images.named(NAME) is None


def test_times_keep_their_nanoseconds():
    assert rfc3339(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
