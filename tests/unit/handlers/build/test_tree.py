"""A context as a tree: no name and no link leads out of it."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidParameter
from handlers.build import sources
from handlers.build.errors import OutsideContext
from handlers.build.tree import inside, read_tree


def archive(path, *entries):
    """Entries: (name, content), (name, None) for a directory, (name, `-> target`) or (name, `= target`)."""
    with tarfile.open(path, "w") as tar:
        for name, what in entries:
            entry = tarfile.TarInfo(name)
            if what is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o750
            elif what[:2] in ("->", "= "):
                entry.type = tarfile.SYMTYPE if what.startswith("->") else tarfile.LNKTYPE
                entry.linkname = what[2:].strip()
            else:
                entry.size = len(what)
            tar.addfile(entry, io.BytesIO(what.encode() if entry.isreg() else b""))
    return path


@pytest.fixture
def tree(tmp_path):
    def make(*entries):
        number = len(list(tmp_path.iterdir()))
        return read_tree(archive(tmp_path / f"a{number}", *entries), tmp_path / f"p{number}")

    return make


def content(tree, path):
    node = tree.find(path)
    return None if node is None else b"".join(tree.content(node)).decode()


def test_names_and_links(tree):
    made = tree(
        ("./a", "A"), ("d/x", "X"), ("d/y/z", "Z"), ("to_d", "-> d"), ("to_a", "-> ./d/../a"), ("hard", "= a"),
        ("up", "-> ../../../a"), ("absolute", "-> /d/x"), ("out", "-> /etc/passwd"), ("loop", "-> loop"),
    )  # fmt: skip
    assert [content(made, path) for path in ("a", "to_a", "hard", "up", "absolute", "to_d/x", "d/y/z")] == list(
        "AAAAXXZ"
    )
    assert content(made, "out") is None
    assert content(made, "loop") is None
    assert [path for path, _ in made.walk()] == [
        "a", "absolute", "d", "d/x", "d/y", "d/y/z", "hard", "loop", "out", "to_a", "to_d", "up",
    ]  # fmt: skip


def test_a_later_entry_takes_the_place_of_an_earlier(tree):
    made = tree(("d/x", "1"), ("d", None), ("a", "1"), ("a", "2"))
    assert (content(made, "a"), content(made, "d/x")) == ("2", "1")
    node = made.find("d")
    assert node is not None
    assert node.entry.mode == 0o750


def test_entries_below_a_link_go_where_it_leads(tree):
    made = tree(("d", None), ("l", "-> d"), ("l/x", "X"))
    assert content(made, "d/x") == "X"


@pytest.mark.parametrize("name", ["../x", "a/../../x", ".."])
def test_a_name_that_leads_out_is_refused(tree, name):
    with pytest.raises(InvalidParameter, match="outside of the context"):
        tree((name, "x"))


def test_a_hard_link_to_what_is_not_there_is_refused(tree):
    with pytest.raises(InvalidParameter, match="hard link"):
        tree(("h", "= /etc/passwd"))


@pytest.mark.parametrize("damage", [lambda data: data[:700], lambda _: b"garbage" * 200])
def test_what_is_no_tar_is_refused(tmp_path, damage):
    path = archive(tmp_path / "a", ("x", "x" * 1000))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidParameter):
        read_tree(path, tmp_path / "p")


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "/"]), max_size=6))
def test_a_path_is_inside_or_refused(parts):
    path = "/".join(parts)
    try:
        found = inside(path)
    except OutsideContext:
        return
    assert not found.startswith(("/", ".."))
    assert ".." not in found.split("/")


def named(tree, path, missing="no {path}"):
    return [source.path for source in sources.chosen(tree, path, missing)]


def test_what_a_source_means(tree):
    made = tree(("a", "A"), ("b", "B"), ("d/x", "X"), ("d/b", "B"), ("l", "-> a"))
    assert named(made, "[ab]") == ["a", "b"]
    assert named(made, "*/x") == ["d/x"]
    assert named(made, "nope*") == []
    assert (named(made, "/a"), named(made, "."), named(made, "l")) == (["a"], [""], ["l"])
    with pytest.raises(InvalidParameter, match="no nope"):
        named(made, "nope")
    with pytest.raises(OutsideContext, match=r"forbidden path outside the build context: \.\./x \(\)"):
        named(made, "/../x")


def test_every_other_content_has_another_word(tree):
    words = {
        sources.digest(sources.chosen(made, path, ""))
        for made, path in (
            (tree(("a", "A")), "a"),
            (tree(("a", "B")), "a"),
            (tree(("b", "A")), "b"),
            (tree(("d/a", "A")), "d"),
            (tree(("d/b", "A")), "d"),
            (tree(("d/a", "-> A")), "d"),
            (tree(("a", "A"), ("b", "A")), "*"),
        )
    }
    assert len(words) == 7
    assert {word.partition(":")[0] for word in words} == {"file", "dir", "multi"}
    same = [sources.digest(sources.chosen(tree(("d/a", "A"), ("z", str(n))), "d", "")) for n in range(2)]
    assert same[0] == same[1]


def written(tree, path, directory, **options):
    found = sources.chosen(tree, path, "")
    (placement,) = sources.write(found, directory, **options)
    with tarfile.open(placement.archive) as tar:
        return placement, {entry.name: (entry.uid, entry.type) for entry in tar}


def test_what_is_handed_on(tree, tmp_path):
    made = tree(("d/x", "X"), ("d/l", "-> x"), ("d/e", None))
    placement, entries = written(made, "d", tmp_path / "one", is_directory=False, keeps_owner=False)
    assert placement.is_directory
    assert entries == {"x": (0, tarfile.REGTYPE), "l": (0, tarfile.SYMTYPE), "e": (0, tarfile.DIRTYPE)}
    placement, entries = written(made, "d/x", tmp_path / "two", is_directory=False, keeps_owner=False)
    assert not placement.is_directory
    assert list(entries) == ["x"]


@pytest.mark.parametrize(
    ("directory", "written_", "place"),
    [
        ("", "/x", "/x"),
        ("", "x", "/x"),
        ("/w", "x/", "/w/x/"),
        ("/w", ".", "/w"),
        ("/w", "./", "/w/"),
        ("/w", "../x", "/x"),
        ("/w", "/", "/"),
        ("/w", "../../../x", "/x"),
    ],
)
def test_where_copies_go(directory, written_, place):
    assert sources.destination_of(directory, written_) == place
