"""Has what was written to a file begin its way to the disk; without it whoever syncs the file system next waits for all
of it at once, while the disk was idle before."""

from contextlib import suppress

from handlers.kernel.calls import KernelRefused, call

_WRITE = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h


def begin_writeback(descriptor: int, offset: int, size: int) -> None:
    """sync_file_range(2) of a range, which nobody waits for; where that can't be, it comes later. Blocking for a while
    when the disk has much to do. Nothing is promised about what is on disk then."""
    with suppress(KernelRefused):
        call("sync_file_range", descriptor, offset, size, _WRITE, what="begin to write back")
