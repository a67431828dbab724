"""Mount tables as the kernel prints them, and its refusals in words."""

import errno
import threading
from pathlib import Path

import pytest

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.calls import KernelRefused, attempt

TABLE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
42 27 254:0 /a /mnt/with\\040blank rw,nosuid shared:3 master:2 - ext4 /dev/vda rw
43 27 0:50 / /mnt rw - tmpfs none rw
44 43 0:51 / /mnt rw unbindable - overlay odd\\134source rw,lowerdir=/l
"""


def test_a_mount_table_is_read():
    points = mounts.parse_mountinfo(TABLE)
    assert points[0] == mounts.MountPoint(
        path="/proc", filesystem="proc", source="proc", device="0:21", options="rw,relatime"
    )
    assert points[2].path == "/mnt/with blank"
    assert points[2].propagation == ("shared:3", "master:2")
    assert points[4].source == "odd\\source"


@pytest.mark.parametrize(
    ("path", "filesystem"),
    [
        ("/", "ext4"),
        ("/etc", "ext4"),
        ("/proc", "proc"),
        ("/proc/1", "proc"),
        ("/process", "ext4"),
        ("/mnt/x", "overlay"),
    ],
)
def test_a_path_lies_on_the_deepest_and_newest_mount(path, filesystem):
    assert mounts.mount_holding(path, mounts.parse_mountinfo(TABLE)).filesystem == filesystem


def test_this_process_has_a_root():
    assert "/" in {point.path for point in mounts.mounts()}


def test_unmounting_what_isnt_mounted_is_no_failure(tmp_path):
    assert mounts.unmount(str(tmp_path)) is False
    assert mounts.unmount(str(tmp_path / "absent")) is False


def test_a_refusal_names_what_was_tried_and_why(tmp_path):
    with pytest.raises(KernelRefused) as refusal:
        mounts.mount("nothing", str(tmp_path), filesystem="no-such-file-system")
    assert refusal.value.errno == errno.ENODEV
    assert str(refusal.value) == f"mount {tmp_path}: no such device"


def test_options_that_dont_fit_are_refused_before_they_are_cut_off(tmp_path):
    with pytest.raises(mounts.OptionsTooLong):
        mounts.mount("overlay", str(tmp_path), filesystem="overlay", options="x" * 4096)


def test_an_os_error_becomes_a_system_failure():
    with pytest.raises(SystemFailure, match="open it: permission denied"), attempt("open it"):
        raise PermissionError(errno.EACCES, "whatever")


def test_a_function_runs_in_a_directory_that_nobody_else_is_moved_to(tmp_path):
    before = Path.cwd()
    assert mounts.in_directory(str(tmp_path), Path.cwd) == tmp_path
    assert Path.cwd() == before
    with pytest.raises(SystemFailure, match="enter"):
        mounts.in_directory(str(tmp_path / "absent"), Path.cwd)
    with pytest.raises(ZeroDivisionError):
        mounts.in_directory(str(tmp_path), lambda: 1 // 0)
    assert threading.active_count() < 20


@pytest.mark.root
def test_a_shared_directory_becomes_private_and_a_private_one_is_left_alone(tmp_path):
    root, inner = tmp_path / "root", tmp_path / "root/inner"
    inner.mkdir(parents=True)
    mounts.mount("none", str(root), filesystem="tmpfs")
    try:
        mounts.make_private(str(root))
        mounts.mount("none", str(root), flags=mounts.MountFlag.SHARED)
        inner.mkdir()
        mounts.make_private(str(inner))
        assert mounts.mount_holding(str(inner), mounts.mounts()).path == str(inner)
        assert mounts.mount_holding(str(inner), mounts.mounts()).propagation == ()
        count = len(mounts.mounts())
        mounts.make_private(str(inner))
        assert len(mounts.mounts()) == count
    finally:
        mounts.unmount(str(inner))
        mounts.unmount(str(root))
