"""Pulls over the API: what is asked for, with which credentials, and how progress and failure are told."""

import base64
import json
from urllib.parse import quote

import pytest

from daemon.api.transfers import wanted_name
from daemon.http.messages import StreamResponse
from daemon.shapes.progress import bar, line
from events.errors import InvalidParameter, NotFound
from events.messages.image import Credentials, PulledImages, PullImages, PushedImages, PushImages
from handlers.progress import Note
from tests.unit.daemon.api.support import Api, WireRequest
from tests.unit.daemon.story import BUSYBOX, IMAGE, Story

DIGEST = "sha256:" + "a" * 64
PULL = "/images/create?fromImage=busybox&tag=1"


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("busybox", "1", "docker.io/library/busybox:1"),
        ("busybox:1", "", "docker.io/library/busybox:1"),
        ("busybox", "", "docker.io/library/busybox"),
        ("reg:5000/a/b", DIGEST, f"reg:5000/a/b@{DIGEST}"),
        ("busybox:1", DIGEST, f"docker.io/library/busybox@{DIGEST}"),
        (f"busybox@{DIGEST}", "", f"docker.io/library/busybox@{DIGEST}"),
    ],
)
def test_what_is_asked_for(name, tag, expected):
    assert wanted_name(name, tag) == expected


@pytest.mark.parametrize(("name", "tag"), [("", ""), ("a/B", "1"), ("a", "b c"), ("a", "x" * 129)])
def test_what_can_not_be_asked_for(name, tag):
    with pytest.raises(InvalidParameter):
        wanted_name(name, tag)


async def pulled(api, **headers):
    async def act(command):
        api.progress.tell(api.desk.ids[-1], Note(status="too late to be seen"))
        return PulledImages(image_ids=("sha256:x",))

    api.desk.agree(PullImages, act)
    await api.call(WireRequest("POST", PULL, b"", headers))
    return api.desk.taken[-1]


def encoded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Credentials()),
        ("e30=", Credentials()),
        ("%%%", Credentials()),
        (base64.urlsafe_b64encode(b"[" * 100_000).decode(), Credentials()),
        (encoded({"username": "a", "password": "b?>~"}), Credentials(username="a", password="b?>~")),
        (encoded({"username": "a", "password": "b"}).rstrip("="), Credentials(username="a", password="b")),
        (encoded({"auth": base64.b64encode(b"a:b:c").decode()}), Credentials(username="a", password="b:c")),
        (encoded({"identitytoken": "i", "registrytoken": "r"}), Credentials(identity_token="i", registry_token="r")),
    ],
)
async def test_credentials(header, expected):
    api = Api(Story())
    command = await pulled(api, **{"x-registry-auth": header})
    assert command == PullImages(name="docker.io/library/busybox:1", credentials=expected)


async def test_progress_then_a_failure_in_the_stream():
    api = Api(Story())

    async def act(_):
        raise NotFound("no more")

    api.desk.agree(PullImages, act)

    def tell(command_id):
        for subject in "12":
            api.progress.tell(command_id, Note(status="Pulling from x", subject=subject))

    api.desk.on_begin = tell
    answer = await api.call(WireRequest("POST", PULL, b"", {}))
    assert isinstance(answer, StreamResponse)
    assert [json.loads(chunk) async for chunk in answer.chunks] == [  # each a chunk: there are clients that count on it
        {"status": "Pulling from x", "id": "1"},
        {"status": "Pulling from x", "id": "2"},
        {"errorDetail": {"message": "no more"}, "error": "no more"},
    ]


async def test_a_failure_before_any_progress_is_a_status():
    api = Api(Story())

    async def act(_):
        raise NotFound("manifest unknown")

    api.desk.agree(PullImages, act)
    with pytest.raises(NotFound, match="manifest unknown"):
        await api.call(WireRequest("POST", PULL, b"", {}))


@pytest.mark.parametrize("target", ["busybox/push?tag=latest", "busybox/push"])
async def test_a_push_for_another_platform(target):
    story = Story()
    await story.image(IMAGE, BUSYBOX)
    api = Api(story)

    async def act(_):
        return PushedImages(tags=())

    api.desk.agree(PushImages, act)
    wanted = {name: quote(json.dumps({"os": "linux", "architecture": name})) for name in ("arm64", "amd64")}
    joined = "&" if "?" in target else "?"
    with pytest.raises(NotFound, match="does not match the specified platform"):
        await api.call(WireRequest("POST", f"/images/{target}{joined}platform={wanted['arm64']}", b"", {}))
    await api.call(WireRequest("POST", f"/images/{target}{joined}platform={wanted['amd64']}", b"", {}))
    assert [type(command) for command in api.desk.taken] == [PushImages]


def test_lines():
    assert line(Note(status="Waiting", subject="abc", has_detail=True)) == {
        "status": "Waiting",
        "progressDetail": {},
        "id": "abc",
    }
    step = line(Note(status="Downloading", subject="abc", has_detail=True, current_bytes=1, total_bytes=2))
    assert step is not None
    assert step["progressDetail"] == {"current": 1, "total": 2}
    assert bar(0, 10) == "[>" + " " * 49 + "]  0B/10B"
    assert bar(1_500_000, 3_000_000) == "[" + "=" * 25 + ">" + " " * 24 + "]  1.5MB/3MB"
    assert bar(10, 10) == "[" + "=" * 50 + "]  10B/10B"
