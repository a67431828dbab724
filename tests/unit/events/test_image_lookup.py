"""Which image a name means."""

import msgspec
import pytest

from events.envelope import ENGINE, Cause, Recorded
from events.errors import InvalidParameter, NotFound
from events.lookup import find_image, names_by_id
from events.messages import image as m
from events.projections.images import Images

ONE, TWO = "sha256:" + "ab" * 32, "sha256:" + "abcd" * 16
CREATING = "sha256:" + "ef" * 32
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def images() -> Images:
    found = Images()
    cause = Cause(actor=ENGINE, command_id="c", correlation_id="c")
    events = [m.ImageCreateRequested(image_id=image_id, origin="load") for image_id in (ONE, TWO, CREATING)]
    made = m.ImageCreated(image_id=ONE, config=m.ImageConfig(), layers=(), size_bytes=0, origin="load")
    created = [made, msgspec.structs.replace(made, image_id=TWO)]
    names = {
        "docker.io/library/busybox:latest": ONE,
        f"docker.io/library/busybox@{DIGEST}": ONE,
        "reg:5000/abab:1": TWO,
    }
    tagged = [m.ImageTagged(image_id=image_id, reference=name) for name, image_id in names.items()]
    story: list[m.ImageCreateRequested | m.ImageCreated | m.ImageTagged] = [*events, *created, *tagged]
    for number, event in enumerate(story, 1):
        found.apply(
            Recorded(
                sequence=number,
                time_ns=number,
                clock_ns=number,
                stream=f"image/{event.image_id}",
                version=number,
                event=event,
                cause=cause,
            )
        )
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("busybox", ONE),
        ("busybox:latest", ONE),
        ("docker.io/library/busybox", ONE),
        (f"busybox@{DIGEST}", ONE),
        (f"busybox:any@{DIGEST}", ONE),
        ("reg:5000/abab:1", TWO),
        (ONE, ONE),
        (ONE.removeprefix("sha256:"), ONE),
        ("abab", ONE),
        ("sha256:abab", ONE),
        ("abcd", TWO),
    ],
)
def test_an_image_is_found(images, name, expected):
    assert find_image(images, name).id == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nosuch", "nosuch:latest"),
        ("busybox:1", "busybox:1"),
        ("reg:5000/abab", "reg:5000/abab:latest"),
        (DIGEST, DIGEST),
        (DIGEST.removeprefix("sha256:"), DIGEST),
        ("efef", "efef:latest"),
        (CREATING, CREATING),
        ("sha256:", "sha256:"),
        ("sha256:zz", "sha256:zz"),
    ],
)
def test_what_isnt_there_or_isnt_ready_is_not_found(images, name, shown):
    with pytest.raises(NotFound) as refusal:
        find_image(images, name)
    assert str(refusal.value) == f"No such image: {shown}"


@pytest.mark.parametrize("name", ["ab", "sha256:ab"])
def test_an_ambiguous_prefix_is_refused(images, name):
    with pytest.raises(InvalidParameter, match=f"ambiguous reference: {name}"):
        find_image(images, name)


def test_ids_are_told_from_names(images):
    image = find_image(images, ONE)
    assert names_by_id(image, "abab")
    assert names_by_id(image, "sha256:abab")
    assert not names_by_id(image, "busybox")
    assert not names_by_id(image, "")
