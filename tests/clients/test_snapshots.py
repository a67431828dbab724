"""The engine boots from a snapshot and shows what it showed before."""

import json
import shutil
import time
from pathlib import Path

import pytest
import zstandard

from tests.engines import EngineUnderTest

pytestmark = pytest.mark.root


class Told(EngineUnderTest):
    """An engine whose story is complete at a time: `docker events` waits until then."""

    told_until = ""


@pytest.fixture(scope="module")
def subject():
    engine = Told()
    try:
        engine.start()
        engine.load_busybox()
        engine.docker("volume", "create", "--label", "b=2", "--label", "a=1", "data")
        engine.docker(
            "create", "--name", "made", "--label", "z=1", "--label", "k=2", "-v", "data:/data", "busybox", "true"
        )
        engine.docker(
            "run", "--name", "ended", "-e", "SECRET=canary-in-env", "busybox", "sh", "-c", "exit 7", check=False
        )
        engine.docker("run", "-d", "--name", "live", "-p", "127.0.0.1::80", "busybox", "sleep", "1000")
        engine.docker("exec", "live", "true")
        engine.docker("tag", "busybox", "other:1")
        engine.told_until = str(int(time.time()) + 2)
        yield engine
        engine.docker("rm", "-f", "-v", "made", "ended", "live")
        assert engine.stop() == 0
        assert engine.leftovers() == []
    finally:
        engine.close()


def shown(engine: Told) -> dict[str, object]:
    """Everything that clients can ask of what there is."""
    return {
        "containers": json.loads(engine.out("inspect", "made", "ended", "live")),
        "ps": engine.out("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.Ports}} {{.Labels}}"),
        "images": json.loads(engine.out("image", "inspect", "busybox", "other:1")),
        "volumes": json.loads(engine.out("volume", "inspect", "data")),
        "networks": json.loads(engine.out("network", "inspect", "bridge")),
        "history": engine.out("events", "--since", "0", "--until", engine.told_until, "--format", "{{json .}}"),
    }


def snapshots(engine: Told) -> list[Path]:
    return sorted((engine.data_root / "snapshots").iterdir())


def test_the_same_answers_from_a_snapshot_and_from_none(subject: Told) -> None:
    before = shown(subject)
    assert subject.stop() == 0
    assert snapshots(subject)
    subject.start()
    assert shown(subject) == before
    subject.kill()
    shutil.rmtree(subject.data_root / "snapshots")
    subject.start()
    assert shown(subject) == before


def test_a_damaged_snapshot_costs_time_only(subject: Told) -> None:
    before = shown(subject)
    assert subject.stop() == 0
    newest = snapshots(subject)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    subject.start()
    assert shown(subject) == before
    assert f"{newest.name} is damaged" in subject.log()


def test_no_secret_is_in_a_snapshot(subject: Told) -> None:
    assert subject.stop() == 0
    newest = snapshots(subject)[-1].read_bytes()
    subject.start()
    frames = newest.split(zstandard.FRAME_HEADER)[1:]
    plain = b"".join(
        zstandard.ZstdDecompressor().decompress(zstandard.FRAME_HEADER + frame, max_output_size=1 << 24)
        for frame in frames
    )
    assert b"live" in plain
    assert b"canary-in-env" not in plain
