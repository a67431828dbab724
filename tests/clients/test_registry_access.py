"""Ways to registries: passwords, tokens, mirrors, TLS with authorities and client certificates, proxies."""

import base64
import json
from typing import Any

import pytest

from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest
from tests.fakes.image_archives import sample
from tests.faults import Fault, FaultyProxy
from tests.registries import Registry
from tests.tokens import PASSWORD, REFRESH, USER, TokenServer
from tests.tunnels import TunnelProxy, Wanted
from tests.unit.daemon.http.certificates import Authority

pytestmark = pytest.mark.root
PULL_S = 120.0
UNTUNNELLED, PROXY_USER = "10.99.77.11", "me:pass"
INSECURE, SECURE, UNKNOWN = "10.99.77.1", "10.99.77.9", "10.99.77.10"
HASH_OF_SECRET = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"


@pytest.fixture(scope="module")
def world():
    subject = World()
    try:
        subject.begin()
        yield subject
        assert subject.engine.stop() == 0
        subject.close_others()
        assert subject.engine.leftovers() == []
    finally:
        subject.close()


class World:
    """An engine among registries of every kind."""

    def __init__(self) -> None:
        self.engine = EngineUnderTest()
        self.closing: list[Any] = []

    def begin(self) -> None:
        directory = self.engine.directory
        for address in (INSECURE, SECURE, UNKNOWN):
            self.engine.inside("ip", "address", "add", f"{address}/32", "dev", "lo")
        self.plain = self.registry("plain")
        self.mirror = self.kept(FaultyProxy(self.engine.namespace, self.plain))
        (directory / "htpasswd").write_text(f"{USER}:{HASH_OF_SECRET}\n")
        self.tokens = self.kept(TokenServer(self.engine.namespace, directory))
        basic = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
        self.basic = self.registry("basic", auth=basic, storage=self.shared_storage())
        self.token = self.registry("token", auth=self.tokens.settings(), storage=self.shared_storage())
        self.insecure = self.registry("insecure", INSECURE, storage=self.shared_storage())
        self.proxy = self.kept(FaultyProxy(self.engine.namespace, self.insecure))
        self.tunnels = self.kept(TunnelProxy(self.engine.namespace, PROXY_USER))
        self.secure = self.tls_registry("secure", SECURE)
        self.unknown = self.tls_registry("unknown", UNKNOWN)
        place = directory / "certs.d" / self.secure.address
        place.mkdir(parents=True)
        authority = directory / "secure-ca"
        (place / "ca.crt").write_bytes((authority / "ca.pem").read_bytes())
        (place / "client.cert").write_bytes((authority / "client.pem").read_bytes())
        (place / "client.key").write_bytes((authority / "client.key").read_bytes())
        configuration = {
            "registry-mirrors": ["http://127.0.0.1:1/", f"http://{self.mirror.address}/"],
            "insecure-registries": [f"{INSECURE}/32"],
            "proxies": {
                "http-proxy": f"http://{self.proxy.address}",
                "https-proxy": f"http://{PROXY_USER}@{self.tunnels.address}",
                "no-proxy": f"127.0.0.1,{UNKNOWN}/32,docker.io",
            },
        }
        (directory / "daemon.json").write_text(json.dumps(configuration))
        self.plain.put_image("library/hub:1", sample("from the mirror"))
        self.plain.put_image("team/app:1", sample("private or not"))
        self.plain.put_image("private/app:1", sample("private"))
        self.engine.start("--config-file", str(directory / "daemon.json"))

    def kept(self, subject):
        self.closing.append(subject)
        return subject

    def shared_storage(self):
        return {"filesystem": {"rootdirectory": str(self.engine.directory / "registry-plain" / "data")}}

    def registry(self, name: str, host: str = "127.0.0.1", **configuration):
        return self.kept(Registry(self.engine, self.engine.directory / f"registry-{name}", host, **configuration))

    def tls_registry(self, name: str, host: str):
        """Wants a certificate of its clients."""
        directory = self.engine.directory / f"{name}-ca"
        directory.mkdir()
        authority = Authority(directory, address=host)
        certificate, key = authority.issue("server")
        authority.issue("client")
        tls = {"certificate": str(certificate), "key": str(key), "clientcas": [str(authority.path)]}
        return self.registry(name, host, http={"tls": tls}, storage=self.shared_storage())

    def close_others(self) -> None:
        while self.closing:
            self.closing.pop().close()

    def close(self) -> None:
        self.close_others()
        self.engine.close()

    def pull(self, name: str, credentials: object = None):
        """Status, and the last line or the message."""
        header = base64.urlsafe_b64encode(json.dumps(credentials or {}).encode()).decode()
        with RawClient(self.engine.socket, PULL_S) as client:
            answer = client.ask("POST", f"/images/create?fromImage={name}&tag=1", x_registry_auth=header)
        if answer.status != 200:
            return answer.status, answer.message
        last = json.loads(answer.body.splitlines()[-1])
        return answer.status, last.get("error", last.get("status"))

    def succeeds(self, name: str, credentials: object = None) -> None:
        status, said = self.pull(name, credentials)
        assert (status, said.partition(":")[0]) == (200, "Status"), said
        self.engine.docker("rmi", "-f", f"{name}:1")


def login(world, registry, **body):
    with RawClient(world.engine.socket, PULL_S) as client:
        return client.ask("POST", "/auth", {"serveraddress": registry.address, **body})


# ---- passwords and tokens


def test_basic_authentication(world):
    name = f"{world.basic.address}/team/app"
    status, said = world.pull(name)
    assert status == 500
    assert said.endswith("no basic auth credentials")
    status, said = world.pull(name, {"username": USER, "password": "wrong"})
    assert (status, "unauthorized: authentication required" in said) == (500, True)
    world.succeeds(name, {"username": USER, "password": PASSWORD})


def test_tokens_for_anybody_and_for_a_user(world):
    public, private = f"{world.token.address}/team/app", f"{world.token.address}/private/app"
    world.succeeds(public)
    status, said = world.pull(private)
    assert (status, "denied" in said or "unauthorized" in said) == (status, True), said
    assert status in (404, 500)
    status, said = world.pull(private, {"username": USER, "password": "wrong"})
    assert (status, "incorrect username or password" in said) == (500, True), said
    world.succeeds(private, {"username": USER, "password": PASSWORD})
    assert any("repository:private/app:pull" in asked for asked in world.tokens.asked)


def test_an_identity_token_stands_for_the_password(world):
    private = f"{world.token.address}/private/app"
    world.succeeds(private, {"identitytoken": REFRESH})
    assert any(asked.startswith("POST") for asked in world.tokens.asked)
    assert world.pull(private, {"identitytoken": "stale"})[0] == 500


def test_logins(world, tmp_path):
    answer = login(world, world.basic, username=USER, password=PASSWORD)
    assert (answer.status, answer.json) == (200, {"Status": "Login Succeeded", "IdentityToken": ""})
    answer = login(world, world.basic, username=USER, password="wrong")
    assert answer.status == 401
    assert answer.message == (f"login attempt to http://{world.basic.address}/v2/ failed with status: 401 Unauthorized")
    answer = login(world, world.token, username=USER, password=PASSWORD)
    assert (answer.status, answer.json["IdentityToken"]) == (200, REFRESH)
    assert login(world, world.token, username=USER, password="wrong").status == 401
    with RawClient(world.engine.socket, PULL_S) as client:
        answer = client.ask("POST", "/auth", {"username": "a", "password": "b", "serveraddress": "127.0.0.1:1"})
        assert (answer.status, answer.message) == (
            500, 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
        )  # fmt: skip
    said = world.engine.docker(
        "--config", str(tmp_path), "login", "-u", USER, "--password-stdin", world.basic.address,
        stdin=PASSWORD.encode(),
    )  # fmt: skip
    assert b"Login Succeeded" in said.stdout
    world.engine.docker("--config", str(tmp_path), "pull", f"{world.basic.address}/team/app:1", timeout_s=PULL_S)
    world.engine.docker("rmi", f"{world.basic.address}/team/app:1")


# ---- ways


def test_mirrors_in_their_order_and_the_registry_itself_at_last(world):
    world.mirror.clear()
    world.succeeds("hub")
    assert world.mirror.requests("library/hub/manifests/1")
    status, said = world.pull("nosuch")
    assert status == 500
    assert "registry-1.docker.io: no such host" in said


def test_an_insecure_registry_goes_through_the_proxy(world):
    world.proxy.clear()
    world.succeeds(f"{world.insecure.address}/team/app")
    asked = world.proxy.requests("team/app/manifests/1")
    assert asked
    assert asked[0].path.startswith(f"http://{world.insecure.address}/")


def test_a_registry_with_a_certificate_and_an_authority_of_its_own_through_a_tunnel(world):
    world.tunnels.wanted.clear()
    world.succeeds(f"{world.secure.address}/team/app")
    assert set(world.tunnels.wanted) == {Wanted(world.secure.address, PROXY_USER)}


def test_a_proxy_that_lets_nobody_through(world):
    status, said = world.pull(f"{UNTUNNELLED}:5000/team/app")
    assert (status, said) == (500, f'Get "https://{UNTUNNELLED}:5000/v2/": Bad Gateway')


def test_a_registry_that_nobody_vouches_for_and_that_no_proxy_is_for(world):
    world.tunnels.wanted.clear()
    status, said = world.pull(f"{world.unknown.address}/team/app")
    assert status == 500
    assert said.startswith(f'Get "https://{world.unknown.address}/v2/": tls: failed to verify certificate: x509')
    assert world.tunnels.wanted == []


# ---- questions


def test_what_a_name_stands_for(world):
    with RawClient(world.engine.socket, PULL_S) as client:
        answer = client.ask("GET", f"/distribution/{world.plain.address}/team/app:1/json")
        assert answer.status == 200, answer.body
        assert answer.json["Descriptor"]["digest"].startswith("sha256:")
        assert answer.json["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
        answer = client.ask("GET", f"/distribution/{world.plain.address}/team/nosuch:1/json")
        assert answer.status == 404
        answer = client.ask("GET", "/distribution/127.0.0.1:1/x/json")
        assert answer.status == 500
        assert answer.message.endswith("connect: connection refused")


def test_search_where_it_is_offered_and_where_it_is_not(world):
    refused = world.engine.docker("search", f"{world.plain.address}/x", check=False)
    assert f"the registry {world.plain.address} does not offer search" in refused.stderr.decode()
    body = {"results": [{"name": "a/b", "description": "d", "star_count": 7, "is_official": True}, {"name": "c"}]}
    world.mirror.faults = [Fault(pattern="GET /v1/search", status=200, body=json.dumps(body).encode(), times=-1)]
    with RawClient(world.engine.socket, PULL_S) as client:
        answer = client.ask("GET", f"/images/search?term={world.mirror.address}/x&limit=5")
        assert [each["name"] for each in answer.json] == ["a/b", "c"]
        filters = json.dumps({"stars": ["3"], "is-official": ["true"]}).replace('"', "%22").replace(" ", "")
        answer = client.ask("GET", f"/images/search?term={world.mirror.address}/x&filters={filters}")
        assert [each["name"] for each in answer.json] == ["a/b"]
        assert client.ask("GET", "/images/search?term=").status == 400
        assert client.ask("GET", "/images/search?term=x&limit=101").status == 400
    world.mirror.clear()
