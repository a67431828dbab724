"""Whole engines on other storage drivers than the default: run, write, restart, remove; nothing stays."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.engines import EngineUnderTest
from tests.filesystems import btrfs, need_fuse_overlayfs, run


@pytest.fixture
def engine() -> Iterator[EngineUnderTest]:
    subject = EngineUnderTest()
    try:
        yield subject
    finally:
        subject.close()


def lived(engine: EngineUnderTest, driver: str) -> None:
    """A container's life, across a kill of the engine."""
    assert engine.out("info", "--format", "{{.Driver}}") == driver
    engine.load_busybox()
    engine.docker("run", "-d", "--name", "web", "busybox", "sh", "-c", "echo kept > /written; sleep 600")
    engine.docker("exec", "-u", "1000", "web", "sh", "-c", "until test -s /written; do sleep 0.1; done")
    engine.restart()
    assert engine.out("exec", "web", "cat", "/written") == "kept"
    engine.docker("restart", "-t", "0", "web")
    engine.docker("rm", "-f", "web")
    assert engine.out("run", "--rm", "busybox", "ls", "/written", check=False) == ""
    engine.docker("rmi", "busybox")


def test_fuse_overlayfs(engine):
    need_fuse_overlayfs()
    engine.arguments = ("--storage-driver", "fuse-overlayfs")
    engine.start()
    lived(engine, "fuse-overlayfs")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def test_btrfs_with_a_size(engine, tmp_path):
    with ExitStack() as stack:
        place = stack.enter_context(btrfs(tmp_path))
        engine.data_root.mkdir()
        run("mount", "--bind", place, engine.data_root)
        stack.callback(engine.close)
        engine.arguments = ("--storage-driver", "btrfs", "--storage-opt", "btrfs.min_space=1M")
        engine.start()
        lived(engine, "btrfs")
        engine.load_busybox()
        write = ["busybox", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=64", "conv=fsync"]
        bounded = engine.docker("run", "--rm", "--storage-opt", "size=16M", *write, check=False)
        assert bounded.returncode == 1
        assert b"quota" in bounded.stderr.lower()
        engine.docker("run", "--rm", *write)
        small = engine.docker("create", "--storage-opt", "size=1k", "busybox", check=False)
        assert b"Storage size cannot be less than 1048576 bytes" in small.stderr
        assert engine.out("ps", "-aq") == ""
        engine.docker("rmi", "busybox")
        assert engine.stop() == 0
        assert list((engine.data_root / "btrfs" / "subvolumes").iterdir()) == []


def test_a_driver_that_the_host_cant_have_is_refused_by_name(engine):
    with pytest.raises(AssertionError, match="the kernel has no aufs file system"):
        engine.start("--storage-driver", "aufs")


def test_the_choice_explains_itself_and_sizes_are_refused_in_dockers_words(engine):
    engine.start()
    info = engine.out("info")
    assert "Storage Driver: overlay2" in info
    assert "Chosen: automatically: the first that works here" in info
    engine.load_busybox()
    refused = engine.docker("create", "--storage-opt", "size=1G", "busybox", check=False)
    expected = b"--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
    assert expected in refused.stderr
    assert engine.out("ps", "-aq") == ""
    engine.restart()
    assert "Chosen: it has layers here already" in engine.out("info")
