"""Patterns for paths, as Go has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.build.patterns import BadPattern, compiled, has_magic, ignores


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [  # from Go's own table, path/filepath/match_test.go
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("[a-ζ]*", "ζ", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "z", False),
        ("*x", "xxx", True),
    ],
)
def test_matching_as_in_go(pattern, path, matches):
    assert bool(compiled(pattern).fullmatch(path)) is matches


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[", "[^", "[a-b-c]", "a[", "[a"])
def test_what_is_no_pattern(pattern):
    with pytest.raises(BadPattern):
        compiled(pattern)


@given(st.text(st.sampled_from("ab*?[]^-\\/."), max_size=12), st.text(st.sampled_from("ab/]^-."), max_size=8))
def test_any_text_is_a_pattern_or_refused(pattern, path):
    try:
        compiled(pattern).fullmatch(path)
    except BadPattern:
        assert has_magic(pattern)


@given(st.text(st.sampled_from("ab.-/"), min_size=1, max_size=12))
def test_a_pattern_without_magic_matches_itself_alone(path):
    assert compiled(path).fullmatch(path)
    assert not compiled(path).fullmatch(path + "x")


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (("a",), "a", True),
        (("a",), "a/b", True),
        (("a",), "b/a", False),
        (("**/a",), "b/c/a", True),
        (("**/a",), "a", True),
        (("a/**",), "a/b/c", True),
        (("/a/",), "a", True),
        (("*.md", "!README.md"), "README.md", False),
        (("*.md", "!README.md"), "x.md", True),
        (("!a", "*"), "a", True),
        (("# a", ""), "a", False),
        (("*", "!Dockerfile"), "Dockerfile", False),
        (("Dock*", ".dockerignore"), "Dockerfile", True),
    ],
)
def test_lines_of_dockerignore(patterns, path, ignored):
    assert ignores(patterns, path) is ignored
