"""From the many ways to ask for a mount to one ordered list."""

import pytest

from events.errors import EngineError
from events.messages.container import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    Mount,
    MountPoint,
    TmpfsOptions,
    VolumeOptions,
)
from handlers.containers.mounts import plan_mounts
from tests.unit.handlers.containers.test_decide import container

SHARED = BindOptions(propagation="rshared")
OTHER = container(
    mounts=(
        MountPoint(type="volume", name="data", driver="local", destination="/data", anonymous=True),
        MountPoint(type="tmpfs", destination="/scratch"),
    )
)


def plan(config=None, exists=True, **host):
    names = iter(f"anonymous{number}" for number in range(10))
    return plan_mounts(
        config or ContainerConfig(), HostConfig(**host), lambda _: OTHER, lambda: next(names), lambda _: exists
    )


def test_a_bind_creates_its_source():
    (point,) = plan(binds=("/host:/in:ro",))
    assert (point.type, point.source, point.destination) == ("bind", "/host", "/in")
    assert (point.writable, point.propagation, point.create_source) == (False, "rprivate", True)


def test_a_name_instead_of_a_path_is_a_volume():
    (point,) = plan(binds=("data:/in:nocopy",))
    assert (point.type, point.name, point.driver, point.no_copy) == ("volume", "data", "local", True)


def test_parents_come_before_children():
    points = plan(binds=("/a:/x/y/z", "/b:/x", "/c:/x/y"))
    assert [point.destination for point in points] == ["/x", "/x/y", "/x/y/z"]


def test_an_images_volume_is_anonymous_unless_something_is_mounted_there():
    config = ContainerConfig(volumes={"/data": {}, "/cache": {}})
    cache, data = plan(config, binds=("/host:/data",))
    assert (cache.type, cache.anonymous, cache.name) == ("volume", True, "anonymous0")
    assert data.type == "bind"


def test_volumes_from_shares_volumes_but_never_owns_them():
    (point,) = plan(volumes_from=("other:ro",))
    assert (point.name, point.writable, point.anonymous, point.no_copy) == ("data", False, False, True)


def test_mounts_of_every_type():
    bind, tmpfs, volume = plan(
        mounts=(
            Mount(
                type="bind", source="/a", target="/1", read_only=True, bind_options=BindOptions(propagation="rshared")
            ),
            Mount(type="tmpfs", target="/2", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o700)),
            Mount(type="volume", target="/3", volume_options=VolumeOptions(subpath="a/b", no_copy=True)),
        )
    )
    assert (bind.propagation, bind.writable, bind.create_source) == ("rshared", False, False)
    assert tmpfs.tmpfs_options == "noexec,nosuid,nodev,size=4096,mode=700"
    assert (volume.name, volume.anonymous, volume.subpath, volume.no_copy) == ("anonymous0", True, "a/b", True)


@pytest.mark.parametrize(
    ("host", "exists", "text"),
    [
        ({"binds": ("/a:/b:zz",)}, True, "invalid mode: zz"),
        (
            {"binds": ("rel/path:/x",)},
            True,
            (
                'create rel/path: "rel/path" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
            ),
        ),
        (
            {"mounts": (Mount(type="bind", source="/nosuchdir", target="/x"),)},
            False,
            'invalid mount config for type "bind": bind source path does not exist: /nosuchdir',
        ),
        (
            {"mounts": (Mount(type="foo", target="/x"),)},
            True,
            'invalid mount config for type "foo": mount type unknown',
        ),
        ({"tmpfs": {"rel": ""}}, True, "invalid mount path: 'rel' mount path must be absolute"),
        ({"binds": ("/a:/x", "/b:/x")}, True, "Duplicate mount point: /x"),
        (
            {"mounts": (Mount(type="volume", target="/x", volume_options=VolumeOptions(subpath="../y")),)},
            True,
            'invalid mount config for type "volume": subpath must be a relative path within the volume: ../y',
        ),
    ],
)
def test_refusals_have_dockers_words(host, exists, text):
    with pytest.raises(EngineError) as refused:
        plan(exists=exists, **host)
    assert str(refused.value) == text
