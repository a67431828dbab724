"""Waiting for a stream of the log."""

import anyio

from daemon.watch import StreamWatcher
from events.envelope import ENGINE, Cause, Recorded
from events.messages.volume import VolumeRemoved

CAUSE = Cause(actor=ENGINE, command_id="c", correlation_id="c")


def event(stream: str) -> Recorded:
    return Recorded(
        sequence=1, time_ns=1, clock_ns=1, stream=stream, version=1, event=VolumeRemoved(name="v"), cause=CAUSE
    )


async def test_an_event_wakes_who_waits_for_its_stream_and_nobody_else():
    watcher, woken = StreamWatcher(), []
    ready = {"volume/a": anyio.Event(), "volume/b": anyio.Event()}

    async def wait(stream: str) -> None:
        with watcher.watch(stream) as changed:
            ready[stream].set()
            await changed()
            woken.append(stream)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for stream in ready:
                tasks.start_soon(wait, stream)
                await ready[stream].wait()
            watcher.notify((event("volume/a"),))
            await anyio.wait_all_tasks_blocked()
            assert woken == ["volume/a"]
            tasks.cancel_scope.cancel()


async def test_what_happened_before_the_wait_is_not_missed():
    watcher = StreamWatcher()
    with watcher.watch("volume/a") as changed, anyio.fail_after(5):
        watcher.notify((event("volume/a"),))
        await changed()
        with anyio.move_on_after(0) as scope:
            await changed()
    assert scope.cancelled_caught


async def test_nothing_is_kept_for_who_has_left():
    watcher = StreamWatcher()
    with watcher.watch("volume/a"):
        pass
    assert not watcher._watches
