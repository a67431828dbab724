"""Deletion marks on disk, as the kernels that read them want them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.layers.drivers.lineage import Lineage
from handlers.layers.drivers.whiteouts import AufsMarks

pytestmark = pytest.mark.root


@pytest.fixture
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A layer's directory, which is the working directory, beside a lower one with `d/old`, `f` and `.wh.gone`."""
    (tmp_path / "lower" / "d").mkdir(parents=True)
    for name in ("d/old", "f", ".wh.gone"):
        (tmp_path / "lower" / name).touch()
    (tmp_path / "upper").mkdir()
    monkeypatch.chdir(tmp_path / "upper")
    return tmp_path / "upper"


@pytest.fixture
def marks(layer: Path) -> AufsMarks:
    return AufsMarks()


@pytest.fixture
def lower(layer: Path) -> Iterator[int]:
    descriptor = os.open(layer.parent / "lower", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def names(layer: Path) -> list[str]:
    return sorted(str(path.relative_to(layer)) for path in layer.rglob("*"))


def test_a_deleted_name_becomes_a_file_beside_it(layer, marks):
    marks.hide("f")
    marks.hide("f")
    assert names(layer) == [".wh.f"]


def test_a_directory_of_this_layers_becomes_opaque_instead(layer, marks):
    (layer / "d").mkdir()
    marks.hide("d")
    assert names(layer) == ["d", "d/.wh..wh..opq"]


def test_what_the_layer_brings_takes_the_mark_away_and_doesnt_merge(layer, marks, lower):
    marks.hide("f")
    marks.hide("d")
    (layer / "f").touch()
    marks.placed("f", replaced=None)
    (layer / "d").mkdir()
    marks.placed("d", replaced=None)
    marks.finish((lower,))
    assert names(layer) == ["d", "d/.wh..wh..opq", "f"]


def test_an_opaque_root_hides_each_lower_name(layer, marks, lower):
    marks.hide_content("")
    (layer / "d").mkdir()
    marks.finish((lower,))
    assert names(layer) == [".wh.f", "d", "d/.wh..wh..opq"]


def test_metadata_isnt_inherited_from_behind_a_mark(layer, marks):
    (layer.parent / "lower" / "d").chmod(0o1777)
    stack = Lineage([str(layer), str(layer.parent / "lower")])
    try:
        found = stack.directory("d")
        assert found is not None
        assert found.mode == 0o1777
        marks.hide("d")
        assert stack.directory("d") is None
        assert stack.directory("d/deeper") is None
    finally:
        stack.close()
