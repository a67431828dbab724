"""What of a container's configuration becomes an image's, and what a client says instead."""

import pytest

from events.codec import encode_event
from events.errors import InvalidParameter, NotFound
from events.messages import image as m
from handlers.images.commit import merged
from tests.fakes.image_archives import sample
from tests.fakes.tars import TarBuilder, digest

CONTAINER = m.RunConfig(
    user="web",
    env=("A=container", "B=container"),
    cmd=("serve",),
    entrypoint=("/init",),
    labels={"a": "container", "b": "container"},
    exposed_ports={"80/tcp": {}},
    volumes={"/data": {}},
    working_dir="/srv",
    stop_signal="SIGINT",
    healthcheck=m.HealthcheckConfig(test=("CMD", "true"), interval=5, retries=3),
)


def test_what_is_left_open_is_the_containers():
    assert merged(m.RunConfig(), CONTAINER) == CONTAINER


def test_what_is_said_counts():
    said = m.RunConfig(
        user="root",
        env=("A=said",),
        cmd=("other",),
        labels={"a": "said"},
        exposed_ports={"443/tcp": {}},
        healthcheck=m.HealthcheckConfig(interval=9),
    )
    found = merged(said, CONTAINER)
    assert (found.user, found.env, found.cmd) == ("root", ("A=said", "B=container"), ("other",))
    assert found.entrypoint == ("/init",)
    assert found.labels == {"a": "said", "b": "container"}
    assert set(found.exposed_ports) == {"80/tcp", "443/tcp"}
    assert found.healthcheck == m.HealthcheckConfig(test=("CMD", "true"), interval=9, retries=3)


def test_an_entrypoint_of_ones_own_takes_no_command_of_the_container():
    found = merged(m.RunConfig(entrypoint=("/mine",)), CONTAINER)
    assert (found.entrypoint, found.cmd) == (("/mine",), ())


async def commit(host, parent: str, tar: bytes, **settings: object) -> m.CommittedImage:
    path = host.directory / "changes.tar"
    path.write_bytes(tar)
    command = m.CommitImage(
        parent=parent,
        path=str(path),
        diff_id=digest(tar),
        size_bytes=len(tar),
        container_id="c",
        container=CONTAINER,
        config=m.RunConfig(),
        **settings,  # type: ignore[arg-type]
    )
    made: m.CommittedImage = await host.engine.send(command)
    return made


async def test_an_image_upon_another(host):
    await host.load(sample("base", names=("base:1",)))
    (base,) = host.images
    tar = TarBuilder().file("new", "x").bytes()
    made = await commit(host, base.id, tar, reference="made:1", author="me", comment="why", changes=("CMD x",))
    image = host.opened(made.image_id)
    assert image.config.rootfs.diff_ids == (*base.config.rootfs.diff_ids, digest(tar))
    assert image.layers[:-1] == base.layers
    assert image.references == ("docker.io/library/made:1",)
    assert (image.config.author, image.config.comment, image.config.parent) == ("me", "why", base.id)
    assert image.config.config.env == CONTAINER.env
    assert image.config.history[-1].created_by == "serve"


async def test_what_may_be_secret_is_sealed_and_goes_with_the_image(host):
    await host.load(sample("base", names=("base:1",), history=[{"created_by": "RUN below"}]))
    (base,) = host.images
    made = await commit(host, base.id, bytes(1024), reference="made:1", changes=("CMD above", "ONBUILD RUN later"))
    image = host.opened(made.image_id)
    assert [line.created_by for line in image.config.history] == ["RUN below", "serve"]
    assert (image.config.config.cmd, image.config.config.on_build) == (("/bin/sh", "-c", "above"), ("RUN later",))
    told = b"".join([encode_event(event) for event in await host.engine.events()])
    assert not [word for word in (b"below", b"above", b"later", b"serve", b"/init", b"A=container") if word in told]
    await host.remove("made:1")
    await host.remove("base:1")
    assert await host.engine.services.keyring.owners() == ()


async def test_no_change_is_no_layer(host):
    await host.load(sample("base", names=("base:1",)))
    (base,) = host.images
    made = await commit(host, base.id, bytes(1024))
    image = host.images.get(made.image_id)
    assert image.layers == base.layers
    assert image.config.history[-1].empty_layer


async def test_what_cannot_be_made_leaves_nothing(host):
    await host.load(sample("base", names=("base:1",)))
    (base,) = host.images
    with pytest.raises(NotFound):
        await commit(host, "sha256:" + "0" * 64, bytes(1024))
    with pytest.raises(InvalidParameter):
        await commit(host, base.id, bytes(1024), changes=("NONSENSE x",))
    with pytest.raises(InvalidParameter):
        await commit(host, base.id, b"junk" * 1000)
    assert list(host.images) == [base]
