"""File systems that the engine fetches itself: `docker import URL`."""

import contextlib
import http.server
import json
import threading

import pytest
from typing_extensions import override

from tests.engines import EngineUnderTest, wait_until
from tests.fakes.tars import TarBuilder
from tests.registries import listening

pytestmark = pytest.mark.root
TAR = TarBuilder().file("hello", "hi").bytes()


class Server:
    """Serves what there is by path, in the engine's network namespace."""

    def __init__(self, namespace: str) -> None:
        self.asked: list[tuple[str, str | None]] = []  # path, Authorization
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization")))
                getattr(self, self.path.strip("/").replace(".", "_"), self.missing)()

            def a_tar(self) -> None:
                self._answer(TAR, len(TAR))

            def open_end(self) -> None:
                self._answer(TAR, None)

            def short(self) -> None:
                self._answer(TAR[:1000], len(TAR))

            def junk(self) -> None:
                self._answer(b"junk" * 1000, 4000)

            def held(self) -> None:
                self._answer(TAR[:1000], len(TAR))
                self.wfile.flush()
                outer.released.wait(30)

            def moved(self) -> None:
                self._redirect(f"http://localhost:{outer.port}/a.tar")

            def round(self) -> None:
                self._redirect("/round")

            def to_a_file(self) -> None:
                self._redirect("file:///etc/passwd")

            def missing(self) -> None:
                self.send_response(404)
                self.end_headers()
                self.wfile.write(b"nothing here")

            def _redirect(self, target: str) -> None:
                self.send_response(302)
                self.send_header("Location", target)
                self.end_headers()

            def _answer(self, content: bytes, length: int | None) -> None:
                self.send_response(200)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening(namespace)
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str, user: str = "") -> str:
        """Where a path is."""
        return f"http://{user}127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        """End it."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def engine():
    engine = EngineUnderTest()
    try:
        engine.start()
        yield engine
        engine.stop()
        assert engine.leftovers() == []
    finally:
        engine.close()


@pytest.fixture
def server(engine):
    server = Server(engine.namespace)
    yield server
    server.close()


def nothing_is_left(engine) -> None:
    """No image, and no file of what came."""
    assert engine.out("images", "-aq") == ""
    assert not list((engine.data_root / "tmp").iterdir())


@pytest.mark.parametrize("path", ["a.tar", "open_end", "moved"])
def test_an_image_from_a_url(engine, server, path):
    said = engine.out("import", "-m", "fetched" if path == "moved" else "", server.url(path), "made:1").splitlines()
    assert said[0] == f"Downloading from {server.url(path)}"
    image = engine.inspect("made:1")
    assert said[-1] == image["Id"]
    assert image["Comment"] == ("fetched" if path == "moved" else f"Imported from {server.url(path)}")
    assert image["Size"] == 2
    engine.docker("rmi", "made:1")
    nothing_is_left(engine)


def test_progress_counts_bytes(engine, server):
    raw = engine.inside(
        "curl", "-sX", "POST", "--unix-socket", str(engine.socket), f"http://x/images/create?fromSrc={server.url('a.tar')}"
    )  # fmt: skip
    lines = [json.loads(line) for line in raw.stdout.splitlines()]
    detail = {"current": len(TAR), "total": len(TAR)}
    assert [line["progressDetail"] for line in lines if line["status"] == "Importing"][-1] == detail
    engine.docker("rmi", lines[-1]["status"])


def test_a_password_goes_to_its_host_only_and_is_not_shown(engine, server):
    said = engine.out("import", server.url("moved", "me:secret@"), "made:1")
    assert [authorization is None for _, authorization in server.asked] == [False, True]
    assert "secret" not in said + json.dumps(engine.inspect("made:1"))
    engine.docker("rmi", "made:1")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nope", "failed to GET {url} with status 404 Not Found: nothing here"),
        ("short", 'Get "{url}": unexpected EOF'),
        ("round", 'Get "http://127.0.0.1:{port}/round": stopped after 10 redirects'),
        ("to_a_file", 'Get "file:///etc/passwd": unsupported protocol scheme "file"'),
        ("junk", "tar"),
    ],
)
def test_what_can_not_be_fetched_leaves_nothing(engine, server, path, why):
    refused = engine.docker("import", server.url(path), "made:1", check=False)
    assert refused.returncode == 1
    assert why.format(url=server.url(path), port=server.port) in refused.stderr.decode()
    nothing_is_left(engine)


def test_a_port_where_nobody_listens(engine):
    refused = engine.docker("import", "http://127.0.0.1:1/a.tar", check=False).stderr.decode()
    assert 'Get "http://127.0.0.1:1/a.tar": dial tcp 127.0.0.1:1: connect: connection refused' in refused


def test_a_client_that_leaves_ends_it(engine, server):
    client = engine.popen("import", server.url("held"))
    wait_until(lambda: server.asked and list((engine.data_root / "tmp").iterdir()), "it has begun")
    client.kill()
    client.communicate(timeout=10)
    wait_until(lambda: not list((engine.data_root / "tmp").iterdir()), "its file is gone")
    nothing_is_left(engine)
