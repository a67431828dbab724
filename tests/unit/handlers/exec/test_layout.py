"""Where things lie: what is looked at while somebody else removes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.exec.drivers.layout import Layout
from handlers.instance import Instance
from tests.fakes.processes import short_directory

ID, EXEC = "c" * 64, "e" * 64


@pytest.fixture
def removed_meanwhile(monkeypatch) -> None:
    """Whatever one asks for is still there, and gone when one looks into it."""

    def gone(self: Path) -> Iterator[Path]:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "iterdir", gone)


@pytest.fixture
def layout() -> Layout:
    instance = Instance(name="test", data_root=Path("/d"), exec_root=Path("/e"))
    return Layout(instance)


@pytest.mark.usefixtures("removed_meanwhile")
def test_what_is_removed_by_somebody_else_has_nothing_in_it(layout, monkeypatch):
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    assert layout.execs(ID) == layout.runs() == layout.runtime_roots() == ()


def test_what_is_there_is_found():
    with short_directory() as place:
        layout = Layout(Instance(name="test", data_root=place / "d", exec_root=place / "e"))
        layout.exec(ID, EXEC).mkdir(parents=True)
        assert layout.runs() == (layout.run(ID),)
        assert layout.execs(ID) == (layout.exec(ID, EXEC),)
