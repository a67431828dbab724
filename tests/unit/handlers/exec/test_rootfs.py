"""Files of a container are read and made inside it, whatever its links say; subpaths of volumes too."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from events.errors import InvalidParameter, SystemFailure
from events.messages.exec import ResolvedMount
from handlers.exec import sources
from handlers.exec.rootfs import ensure_directory, read_text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/passwd").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/passwd").write_text("inside")
    (inside / "absolute").symlink_to("/etc")
    (inside / "upwards").symlink_to("../outside")
    (inside / "etc/fifo-like").symlink_to("/proc/self/root/etc/passwd")
    os.mkfifo(inside / "etc/fifo")
    return inside


def test_texts_come_from_inside(root):
    assert read_text(root, "/etc/passwd") == "inside"
    assert read_text(root, "absolute/passwd") == "inside"
    assert read_text(root, "../../etc/passwd") == "inside"


@pytest.mark.parametrize("path", ["/upwards/passwd", "/etc/none", "/etc", "/etc/fifo", "/etc/fifo-like"])
def test_what_is_no_file_of_the_container_reads_as_nothing(root, path):
    assert read_text(root, path) == ""


def test_directories_are_made_inside(root):
    ensure_directory(root, "/new/deep//dir/../other")
    assert (root / "new/deep/other").is_dir()
    ensure_directory(root, "/absolute/made")
    assert (root / "etc/made").is_dir()
    ensure_directory(root, "/")
    (root / "up").symlink_to("../../../outside")
    with pytest.raises(SystemFailure):
        ensure_directory(root, "/up/made")
    assert not (root.parent / "outside/made").exists()


def test_a_file_in_the_way_is_named(root):
    with pytest.raises(SystemFailure, match="Cannot mkdir: /etc/passwd is not a directory"):
        ensure_directory(root, "/etc/passwd")
    with pytest.raises(SystemFailure, match="Cannot mkdir: /etc/passwd/x is not a directory"):
        ensure_directory(root, "/etc/passwd/x")


def held(*mounts: ResolvedMount) -> tuple[ResolvedMount, ...]:
    with ExitStack() as resources:
        return sources.hold(mounts, resources).mounts


def test_a_missing_source_is_made_only_when_asked(tmp_path):
    made = ResolvedMount(type="bind", source=str(tmp_path / "a/b"), destination="/x", create_source=True)
    assert held(made) == (made,)
    assert (tmp_path / "a/b").is_dir()
    with pytest.raises(InvalidParameter, match="bind source path does not exist"):
        held(ResolvedMount(type="bind", source=str(tmp_path / "c"), destination="/x"))
    memory = ResolvedMount(type="tmpfs", destination="/t")
    assert held(memory) == (memory,)


def test_a_subpath_is_what_it_leads_to_inside_its_volume(root):
    (settled,) = held(ResolvedMount(type="bind", source=str(root), destination="/x", subpath="absolute"))
    assert settled.source == str(root / "etc")


def test_what_was_exchanged_before_it_was_mounted_is_found_out(root):
    """Seen by this very process, whose root has at a path what was held, or something else."""
    with ExitStack() as resources:
        mount = ResolvedMount(type="bind", source=str(root), destination=str(root / "etc"), subpath="absolute")
        found = sources.hold((mount,), resources)
        sources.verify(os.getpid(), found)
        (root / "etc").rename(root / "moved")
        with pytest.raises(SystemFailure, match="was exchanged meanwhile"):
            sources.verify(os.getpid(), found)
        (root / "etc").symlink_to("../outside")
        with pytest.raises(SystemFailure, match="was exchanged meanwhile"):
            sources.verify(os.getpid(), found)


@pytest.mark.parametrize("subpath", ["upwards", "nosuch", "etc/passwd/x"])
def test_a_subpath_never_leaves_its_volume(root, subpath):
    with pytest.raises(SystemFailure, match="cannot access path"):
        held(ResolvedMount(type="bind", source=str(root), destination="/x", subpath=subpath))
