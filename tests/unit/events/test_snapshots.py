"""Snapshots: the same state again, to the byte, and never one that the log doesn't bear out."""

import ast
import io
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import ENGINE, Cause, Recorded
from events.errors import InvalidParameter
from events.ledger import Position
from events.log import Append
from events.memory_log import MemoryLog
from events.messages.image import ImageCreateRequested
from events.projections.state import State
from events.projections.tables import Projection, table_types
from events.snapshot_directory import SnapshotDirectory, spread, state_at
from events.snapshots import (
    Snapshot,
    SnapshotUnusable,
    fingerprint,
    fold_fingerprint,
    read,
    read_header,
    source_fingerprint,
    write,
)
from tests.fakes.clock import SetClock
from tests.unit.events.histories import histories

PACKAGE = Path(__file__).resolve().parents[3] / "events"
CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")


def snapshot(state: State, log_id: str = "log", digest: bytes = b"h" * 32) -> Snapshot:
    position = Position(sequence=state.sequence, time_ns=5, clock_ns=6, hash=digest)
    return Snapshot(log_id=log_id, position=position, holders={"name/a": "container/a"}, tables=state.capture())


def folded(events: Sequence[Recorded], state: State | None = None) -> State:
    state = state or State()
    state.apply(events)
    return state


async def told(history) -> list[Recorded]:
    log = MemoryLog(SetClock())
    for append, cause in history:
        await log.append([append], cause=cause)
    return [recorded async for recorded in log.read(limit=0)]


@given(history=histories(), cut=st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_snapshot_and_tail_equal_the_fold_from_zero(
    history, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = anyio.run(told, history)
    whole = folded(events)
    path = tmp_path_factory.mktemp("snapshots") / "file"
    with path.open("w+b") as file:
        write(file, snapshot(folded(events[:cut])))
    restored = read(path).state()
    assert restored.capture() == folded(events[:cut]).capture()
    assert fingerprint(folded(events[cut:], restored)) == fingerprint(whole)
    again = io.BytesIO()
    write(again, snapshot(folded(events[:cut])))
    assert again.getvalue() == path.read_bytes()


@given(history=histories(20))
@settings(deadline=None, max_examples=20)
def test_a_capture_stays_as_it_is(history) -> None:
    events = anyio.run(told, history)
    state = folded(events[:10])
    before, then = state.capture(), fingerprint(state)
    state.apply(events[10:])
    untouched = State()
    untouched.restore(len(events[:10]), before)
    assert fingerprint(untouched) == then


def test_a_read_model_has_nothing_but_its_tables() -> None:
    for model, projection in vars(State()).items():
        if isinstance(projection, Projection):
            assert vars(projection).keys() == table_types(type(projection)).keys(), model
    others = {name for name, value in vars(State()).items() if not isinstance(value, Projection)}
    assert others == {"sequence", "_folds"}, "what isn't a Projection is in no snapshot"


def test_fingerprints_tell_states_apart() -> None:
    empty, other = State(), State()
    other.restore(0, State().capture() | {"volumes._by_name": {"a": "b"}})
    assert fingerprint(empty) == fingerprint(State()) != fingerprint(other)


def saved(directory: Path, *sequences: int, log_id: str = "log") -> SnapshotDirectory:
    store = SnapshotDirectory(directory)
    store.prepare()
    for sequence in sequences:
        state = State()
        state.sequence = sequence
        store.save(snapshot(state, log_id))
    return store


def test_the_newest_up_to_a_position(tmp_path: Path) -> None:
    store = saved(tmp_path, 10, 20, 30)
    assert store.sequences() == [10, 20, 30]
    found = [store.newest("log", at_most) for at_most in (None, 30, 29, 10, 9)]
    assert [each and each.position.sequence for each in found] == [30, 30, 20, 10, None]
    assert found[0] is not None
    assert found[0].holders == {"name/a": "container/a"}


@pytest.mark.parametrize("place", [0, 40, 60, -1])
def test_a_damaged_file_is_passed_over(tmp_path: Path, place: int) -> None:
    store = saved(tmp_path, 10, 20)
    path = tmp_path / "snapshot-0000000000000020"
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(SnapshotUnusable):
        read(path)
    found = store.newest("log")
    assert found is not None
    assert found.position.sequence == 10
    assert store.sequences() == [10]


@pytest.mark.parametrize("size", [0, 20, 40, 100])
def test_a_cut_file_is_passed_over(tmp_path: Path, size: int) -> None:
    store = saved(tmp_path, 20)
    path = tmp_path / "snapshot-0000000000000020"
    path.write_bytes(path.read_bytes()[:size])
    assert store.newest("log") is None


def test_other_folds_make_other_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = saved(tmp_path, 20)
    monkeypatch.setattr("events.snapshots.fold_fingerprint", lambda: "another")
    with pytest.raises(SnapshotUnusable, match="another version of the engine"):
        read(tmp_path / "snapshot-0000000000000020")
    assert store.newest("log") is None


def imports(source: str) -> Iterator[str]:
    """Names that a module imports, and the packages that they lie in."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def imported(module: str) -> set[Path]:
    """Files of the package that take part where a module of it is imported, its own among them."""
    found: set[Path] = set()
    due = [module]
    while due:
        path = PACKAGE.parent / due.pop().replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_relative_to(PACKAGE) and path.exists() and path not in found:
            found.add(path)
            due += imports(path.read_text())
    return found


def test_imports_are_found() -> None:
    source = "import events.a\nfrom events import b\ndef f():\n    from events.c.d import E\n"
    assert set(imports(source)) == {"events", "events.a", "events.b", "events.c", "events.c.d", "events.c.d.E"}
    assert PACKAGE / "messages" / "volume.py" in imported("events.snapshots")
    assert PACKAGE / "sqlite_log.py" not in imported("events.snapshots")


def test_snapshots_are_of_use_until_what_they_are_made_with_changes(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "events"))
    assert source_fingerprint(copy) == fold_fingerprint()
    changed = set()
    for path in PACKAGE.rglob("*.py"):
        counterpart = copy / path.relative_to(PACKAGE)
        counterpart.write_text(path.read_text() + "# changed\n")
        if source_fingerprint(copy) != fold_fingerprint():
            changed.add(path)
        counterpart.write_text(path.read_text())
    assert changed == imported("events.snapshots"), "a module that the folds import, or import no more: see _FOLDS"


def test_another_logs_snapshot_is_not_taken(tmp_path: Path) -> None:
    assert saved(tmp_path, 20, log_id="another").newest("log") is None


def test_what_was_never_finished_goes(tmp_path: Path) -> None:
    (tmp_path / "snapshot-0000000000000020.new").write_bytes(b"x")
    assert saved(tmp_path).sequences() == []
    assert list(tmp_path.iterdir()) == []


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    saved(tmp_path / "s", 20)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "s").iterdir()] == [0o600]
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700


def test_those_that_stay_are_spread_over_the_history() -> None:
    kept: set[int] = set()
    for head in range(10, 100_000, 10):
        kept = spread([*kept, head], head)
        if head % 5_000 == 0:
            assert {head, head - 10, head - 20} <= kept
            assert len(kept) <= 150
            gaps = [head - before for before in kept]
            for age in (100, 1_000, head // 2):
                assert any(age <= gap <= 4 * age + 40 for gap in gaps), (head, age, sorted(gaps))


def test_no_part_of_the_history_is_far_from_one() -> None:
    kept: set[int] = set()
    for head in range(10_000, 1_000_001, 10_000):
        kept = spread([*kept, head], head)
    found = [0, *sorted(kept), 1_000_000]
    assert max(later - earlier for earlier, later in pairwise(found)) <= 30_000
    assert len(kept) <= 150


async def test_the_state_as_of_an_event(tmp_path: Path) -> None:
    log, live = MemoryLog(SetClock()), State()
    log.listen(live.apply)
    store = SnapshotDirectory(tmp_path)
    store.prepare()
    then = [fingerprint(live)]
    for number in range(30):
        request = ImageCreateRequested(image_id=f"i{number}", origin="load")
        (recorded,) = await log.append([Append(stream=f"image/i{number}", events=(request,))], cause=CAUSE)
        then.append(fingerprint(live))
        if number in (9, 19):
            store.save(snapshot(live, log.id, recorded.hash))
    for sequence in (0, 1, 9, 10, 11, 20, 30):
        assert fingerprint(await state_at(log, store, sequence)) == then[sequence]
    with pytest.raises(InvalidParameter, match="the log has no event 31: its newest is 30"):
        await state_at(log, store, 31)


def test_the_header_alone(tmp_path: Path) -> None:
    saved(tmp_path, 20)
    with (tmp_path / "snapshot-0000000000000020").open("rb") as file:
        assert read_header(file).position.sequence == 20
