"""How registries are reached: endpoints in their order, proxies and their exceptions, challenges, errors' words."""

import json
from collections.abc import Sequence
from typing import cast

import httpx2
import pytest

from handlers.images.drivers.answers import refusal
from handlers.images.drivers.asking import Asker
from handlers.images.drivers.authorization import read_challenges
from handlers.images.drivers.endpoints import Endpoint, endpoints
from handlers.images.drivers.http_repository import HttpRepository
from handlers.images.drivers.proxying import proxy_of
from handlers.images.registry_errors import RegistryUnreachable
from handlers.images.registry_settings import Proxies, RegistrySettings

PROXIES = Proxies(http="http://p:1", https="p:2", exceptions="a.example, .b.example,10.0.0.0/8,c.example:444,192.0.2.1")


async def ways(registry: str, **settings):
    return [(each.url, each.verifies) async for each in endpoints(registry, RegistrySettings(**settings))]


async def test_the_hub_has_mirrors_before_itself():
    assert await ways("docker.io", mirrors=("http://m:1/", "https://127.0.0.1:2/")) == [
        ("http://m:1", False),
        ("https://127.0.0.1:2", False),
        ("http://127.0.0.1:2", False),
        ("https://registry-1.docker.io", True),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "10.1.2.3:80", "named:1"])
async def test_insecure_ones_may_be_without_tls(host):
    found = await ways(host, insecure=("10.0.0.0/8", "named:1"))
    assert found == [(f"https://{host}", False), (f"http://{host}", False)]


class Way:
    """An asker that counts; one that isn't there is unreachable."""

    def __init__(self, url: str, *, is_there: bool, is_mirror: bool = False) -> None:
        self.endpoint = Endpoint(url=url, host="x", is_mirror=is_mirror)
        self._is_there = is_there
        self.asked = 0

    async def ask(self, stack, method, url, headers, scope, body):
        self.asked += 1
        if not self._is_there:
            raise RegistryUnreachable(method, url, "connection refused", is_final=True)
        return httpx2.Response(202, headers={"Location": "/v2/a/blobs/uploads/1"}, request=httpx2.Request(method, url))


async def uploads(*ways: Way) -> list[int]:
    repository = HttpRepository("x/a", cast(Sequence[Asker], ways), {})
    for _ in range(3):
        assert await repository.begin_upload() == f"{ways[-1].endpoint.url}/v2/a/blobs/uploads/1"
    return [way.asked for way in ways]


async def test_what_has_answered_is_asked_first_from_then_on():
    assert await uploads(Way("https://x", is_there=False), Way("http://x", is_there=True)) == [1, 3]
    assert await uploads(Way("https://x", is_there=True)) == [3]


async def test_mirrors_are_asked_first_every_time():
    mirror, origin = Way("https://m", is_there=False, is_mirror=True), Way("https://x", is_there=True)
    repository = HttpRepository("x/a", cast(Sequence[Asker], (mirror, origin)), {})
    for _ in range(2):
        assert await repository.has_blob("sha256:0")
    assert (mirror.asked, origin.asked) == (2, 2)


@pytest.mark.parametrize("host", ["192.0.2.1:5000", "[2001:db8::1]:5000"])
async def test_others_only_with_tls(host):
    assert await ways(host, insecure=("10.0.0.0/8", "named:1")) == [(f"https://{host}", True)]


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://x.example/", "http://p:1"),
        ("https://x.example/", "http://p:2"),
        ("http://a.example/", None),
        ("http://sub.a.example/", None),
        ("http://nota.example/", "http://p:1"),
        ("http://sub.b.example/", None),
        ("http://b.example/", "http://p:1"),
        ("http://10.1.2.3:5000/", None),
        ("http://11.1.2.3:5000/", "http://p:1"),
        ("https://c.example:444/", None),
        ("https://c.example/", "http://p:2"),
        ("http://192.0.2.1/", None),
        ("http://localhost:5000/", None),
        ("http://127.0.0.1:5000/", None),
        ("http://[::1]:5000/", None),
    ],
)
def test_which_proxy(url, proxy):
    assert proxy_of(url, PROXIES) == proxy
    assert proxy_of(url, Proxies()) is None


def test_challenges():
    (bearer,) = read_challenges(['Bearer realm="https://a/token?x=1,2",service="s \\"q\\"", scope=repository:a:pull'])
    assert bearer.scheme == "bearer"
    assert bearer.parameters == {"realm": "https://a/token?x=1,2", "service": 's "q"', "scope": "repository:a:pull"}
    assert read_challenges(["Basic"])[0].scheme == "basic"


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "m"}]}), "manifest unknown: m"),
        (401, "", "unauthorized: authentication required"),
        (401, json.dumps({"details": "incorrect"}), "unauthorized: incorrect"),
        (403, "<html>", "denied: requested access to the resource is denied"),
        (429, "", "toomanyrequests: too many requests"),
        (418, "tea", 'error parsing HTTP 418 response body: "tea"'),
        (502, "[" * 1000, "received unexpected HTTP status: 502 Bad Gateway"),
        (404, '{"errors":' + "[" * 10_000, "error parsing HTTP 404 response body"),
    ],
)
def test_what_registries_say(status, body, text):
    assert text in str(refusal(status, body.encode()))
