"""Trees that go whatever they are, and nothing beside them."""

import pytest

from handlers.kernel.mounts import mount, unmount
from handlers.kernel.trees import TreeStays, delete_tree, delete_trees
from tests.fakes.deep_trees import dig


def test_a_tree_of_any_depth_goes(tmp_path):
    dig(tmp_path / "deep")
    delete_tree(tmp_path / "deep")
    assert list(tmp_path.iterdir()) == []


def test_a_link_goes_and_what_it_names_stays(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    delete_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_file_goes_and_what_is_absent_is_fine(tmp_path):
    (tmp_path / "file").touch()
    delete_tree(tmp_path / "file")
    delete_tree(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_what_stays_is_told(tmp_path):
    mounted = tmp_path / "tree" / "mounted"
    mounted.mkdir(parents=True)
    mount("tmpfs", str(mounted), filesystem="tmpfs")
    try:
        with pytest.raises(TreeStays, match=f"remove {tmp_path}/tree: rm: "):
            delete_tree(tmp_path / "tree")
    finally:
        unmount(str(mounted))


def test_many_go_at_once_whatever_they_are(tmp_path):
    trees = [tmp_path / f"tree{number}" for number in range(20)]
    for tree in trees[2:]:
        (tree / "below").mkdir(parents=True)
        (tree / "below" / "file").touch()
    dig(trees[1])
    delete_trees([*trees, tmp_path / "never there"])
    assert list(tmp_path.iterdir()) == []


def test_many_go_where_no_process_can_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("one", "two"):
        (tmp_path / name / "below").mkdir(parents=True)
    delete_trees([tmp_path / "one", tmp_path / "two"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_of_many_the_one_that_stays_is_told_and_the_others_go(tmp_path):
    mounted = tmp_path / "tree" / "mounted"
    mounted.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    mount("tmpfs", str(mounted), filesystem="tmpfs")
    try:
        with pytest.raises(TreeStays, match=f"remove {tmp_path}/tree: rm: "):
            delete_trees([tmp_path / "tree", tmp_path / "other"])
    finally:
        unmount(str(mounted))
    assert not (tmp_path / "other").exists()
