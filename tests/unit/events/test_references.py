"""Names as Docker reads, keeps and shows them."""

import pytest

from events import references
from events.errors import InvalidParameter

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("written", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/library/busybox:x", "docker.io/library/busybox:x", "busybox:x"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("reg:5000/a/b:1", "reg:5000/a/b:1", "reg:5000/a/b:1"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
    ],
)
def test_a_name_is_kept_canonical_and_shown_familiar(written, canonical, familiar):
    assert references.canonical(written) == canonical
    assert references.familiar(canonical) == familiar


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("Bad:Ref:x", "invalid reference format: repository name (library/Bad) must be lowercase"),
        ("A", "invalid reference format: repository name (library/A) must be lowercase"),
        ("Bad!", "invalid reference format: repository name (library/Bad!) must be lowercase"),
        ("a//b", "invalid reference format"),
        ("", "invalid reference format"),
        ("busybox:", "invalid reference format"),
        ("x y", "invalid reference format"),
        ("busybox@sha256:xyz", "invalid reference format"),
        ("busybox\n", "invalid reference format"),
        ("a" * 256, "invalid reference format: repository name must not be more than 255 characters"),
        ("ab" * 32, f"invalid repository name ({'ab' * 32}), cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_a_bad_name_is_refused_in_dockers_words(written, message):
    with pytest.raises(InvalidParameter) as refusal:
        references.parse(written)
    assert str(refusal.value) == message


def test_repository_and_tag_may_come_apart():
    assert references.tagged("busybox", "1") == "docker.io/library/busybox:1"
    assert references.tagged("busybox:2", "") == "docker.io/library/busybox:2"
    assert references.tagged("busybox", "") == "docker.io/library/busybox:latest"
    for repository, tag in (("busybox", "a b"), ("busybox", "-x"), (f"busybox@{DIGEST}", "x")):
        with pytest.raises(InvalidParameter):
            references.tagged(repository, tag)


def test_what_is_no_name_is_shown_as_it_is():
    assert references.familiar("<none>") == "<none>"


def test_full_ids_are_told_from_names():
    assert references.is_image_id("ab" * 32)
    assert references.is_image_id(DIGEST)
    assert not references.is_image_id("ab" * 31)
    assert not references.is_image_id("sha256:abc")
