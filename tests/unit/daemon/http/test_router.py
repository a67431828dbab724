import pytest

from daemon.http.errors import ClientTooNew, ClientTooOld, PageNotFound, RouteTooNew
from daemon.http.messages import Answer, Request, Response, Route
from daemon.http.router import Router


async def endpoint(request: Request) -> Answer:
    return Response()


def table(*rows: str, minimum: tuple[int, int] = (1, 24)) -> Router:
    routes = [
        Route(method=method, pattern=pattern, endpoint=endpoint, minimum_version=minimum)
        for method, pattern in (row.split(" ") for row in rows)
    ]
    return Router(routes, minimum=(1, 24), maximum=(1, 51))


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/images/a/json", {"name": "a"}),
        ("/images/reg:5000/a/b/json", {"name": "reg:5000/a/b"}),
        ("/images/a%2Fb%20c/json", {"name": "a/b c"}),
        ("/images//a/json", {"name": "/a"}),
        ("/images/json/json", {"name": "json"}),
        ("/images/%FF/json", {"name": "\ufffd"}),
        ("/images/a%0Ab/json", {"name": "a\nb"}),
    ],
)
def test_long_names_are_matched_by_their_suffix(path: str, parameters: dict[str, str]):
    router = table("GET /images/json", "GET /images/{name:path}/json", "GET /images/{name:path}/history")
    assert router.find("GET", path).parameters == parameters


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers//json"),
        ("GET", "/containers/a/b/json"),
        ("GET", "/containers/a/json/"),
        ("GET", "/CONTAINERS/a/json"),
        ("POST", "/containers/a/json"),
        ("get", "/containers/a/json"),
        ("GET", "/vx/containers/a/json"),
        ("GET", "/v1.41"),
        ("GET", "//containers/a/json"),
        ("GET", ""),
        ("GET", "/v" + "1" * 5000 + "/containers/a/json"),
    ],
)
def test_not_found(method: str, path: str):
    with pytest.raises(PageNotFound, match=r"^page not found$"):
        table("GET /containers/{id}/json").find(method, path)


def test_a_literal_comes_before_a_parameter():
    router = table("GET /networks/{id}", "GET /networks/prune")
    assert router.find("GET", "/networks/prune").parameters == {}
    assert router.find("GET", "/networks/a").parameters == {"id": "a"}


def test_head_prefers_its_own_route():
    router = table("GET /a/{x}", "HEAD /a/{y}", "GET /b")
    assert router.find("HEAD", "/a/1").parameters == {"y": "1"}
    assert router.find("HEAD", "/b").parameters == {}


@pytest.mark.parametrize(
    ("prefix", "version"), [("", (1, 51)), ("/v1.24", (1, 24)), ("/v1.51", (1, 51)), ("/v1.41.3", (1, 41))]
)
def test_version(prefix: str, version: tuple[int, int]):
    found = table("GET /info").find("GET", prefix + "/info")
    assert (found.version, found.path) == (version, "/info")


@pytest.mark.parametrize("version", ["1.23", "1", "0.1", "1.", "...", "1.2.99"])
def test_too_old(version: str):
    with pytest.raises(ClientTooOld) as raised:
        table("GET /info").find("GET", f"/v{version}/info")
    assert str(raised.value) == (
        f"client version {version} is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version"
    )


@pytest.mark.parametrize("version", ["1.52", "2.0", "9", "1.999999999999999999999999"])
def test_too_new(version: str):
    with pytest.raises(ClientTooNew) as raised:
        table("GET /info").find("GET", f"/v{version}/info")
    assert str(raised.value) == f"client version {version} is too new. Maximum supported API version is 1.51"


def test_a_route_with_a_version_of_its_own():
    router = table("GET /images/{name:path}/attestations", minimum=(1, 50))
    assert router.find("GET", "/images/a/attestations").version == (1, 51)
    with pytest.raises(RouteTooNew) as raised:
        router.find("GET", "/v1.49/images/a/attestations")
    assert str(raised.value) == "GET /images/{name:.*}/attestations requires minimum API version 1.50"


@pytest.mark.parametrize("pattern", ["x", "/{id}", "/a/{b c}", "/a/{b", "/a/{b:long}"])
def test_a_pattern_that_makes_no_sense(pattern: str):
    with pytest.raises(ValueError, match=r"pattern|parameter"):
        Router([Route(method="GET", pattern=pattern, endpoint=endpoint)], minimum=(1, 24), maximum=(1, 51))


def test_two_routes_for_one():
    with pytest.raises(ValueError, match="two routes for GET /a"):
        table("GET /a", "GET /a")
