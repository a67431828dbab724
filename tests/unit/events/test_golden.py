"""Stored bytes of every event type, kept for ever: what was once written must always be read.

`python -m tests.unit.events.test_golden` writes the files that are missing; it never changes one that exists.
"""

from pathlib import Path

import pytest

from events import codec
from events.base import Event
from tests.unit.events.examples import example, stored_example

GOLDEN = Path(__file__).parent / "golden"
COMMAND = "python -m tests.unit.events.test_golden"


def golden_path(event: type[Event]) -> Path:
    return GOLDEN / f"{event.TYPE}-{event.SCHEMA}.json"


def write_missing() -> list[Path]:
    GOLDEN.mkdir(exist_ok=True)
    missing = {golden_path(event): event for event in codec.EVENTS.values() if not golden_path(event).exists()}
    for path, event in missing.items():
        path.write_bytes(codec.encode_record(stored_example(event)))
    return sorted(missing)


@pytest.mark.parametrize("tag", sorted(codec.EVENTS))
def test_golden_bytes(tag: str) -> None:
    event = codec.EVENTS[tag]
    path = golden_path(event)
    assert path.exists(), f"{tag} has no golden file: run `{COMMAND}` and commit {path.name}"
    stored = path.read_bytes()
    assert codec.recorded(stored, b"").event == example(event), f"{tag} no longer reads what was written"
    assert codec.encode_record(stored_example(event)) == stored, (
        f"{tag} is no longer written as it was. A released event never changes: make a new one, or raise SCHEMA with an"
        f" upcast. If it was never released, delete {path.name} and run `{COMMAND}`"
    )


def test_golden_files_of_all_schemas_can_be_read() -> None:
    for path in GOLDEN.glob("*.json"):
        stored = path.read_bytes()
        assert codec.encode_record(codec.decode_record(stored)) == stored
        assert path.name.startswith(f"{codec.recorded(stored, b'').event.TYPE}-")


if __name__ == "__main__":
    for written in write_missing():
        print(written)  # noqa: T201  # the command's output
