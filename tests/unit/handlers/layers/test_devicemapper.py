"""Which numbers thin devices get, without a pool."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from handlers.layers.drivers.devicemapper import Device, DeviceMapper

LIMIT_S = 5.0


class NotedLock:
    """Tells when somebody has to wait for it."""

    def __init__(self, awaited: threading.Event) -> None:
        self._lock, self._awaited = threading.Lock(), awaited

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._awaited.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.root
async def test_a_layer_may_go_while_a_number_is_given_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, driver, settled = tmp_path / "layers", DeviceMapper(tmp_path), threading.Event()
    layers.mkdir()
    for number, name in enumerate(("base", "going")):
        (layers / name).write_bytes(msgspec.json.encode(Device(number=number, size_bytes=1, is_complete=True)))
    read, first, removals = driver._read, iter([True]), list[Future[None]]()
    with ThreadPoolExecutor(1) as threads:

        def read_late(cache_id: str) -> Device:
            if cache_id == "going" and next(first, False):
                removals.append(threads.submit(driver._delete, "going"))
                removals[0].add_done_callback(lambda _: settled.set())
                assert settled.wait(LIMIT_S)
            return read(cache_id)

        monkeypatch.setattr(driver, "_pool", Mock())
        monkeypatch.setattr(driver, "_one_at_a_time", NotedLock(settled))
        monkeypatch.setattr(driver, "_read", read_late)
        await driver.create("new", ())
        removals[0].result(LIMIT_S)
    assert read("new").number == 2
    assert await driver.list() == {"new"}
