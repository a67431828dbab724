"""Whatever is sent, it gets an answer that a client understands, the engine goes on, and nothing is left half-made."""

import json
import threading

import pytest

from tests.clients.raw import RawClient, dial, read_all, say, status_of

pytestmark = pytest.mark.root

MEMORY = "CreateRequest.HostConfig.Memory"
CREATE = b"POST /containers/create?name=never HTTP/1.1\r\nHost: x\r\n"
MANY_HEADERS = b"".join(b"X%d: y\r\n" % number for number in range(20_000))
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture
def alive(engine):
    """After the test the engine answers on a new connection, and there is no container."""
    yield engine
    with RawClient(engine.socket) as client:
        assert client.ask("GET", "/_ping").status == 200
        assert client.ask("GET", "/containers/json?all=1").json == []


def create(body: object) -> bytes:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CREATE + JSON + b"Content-Length: %d\r\n\r\n%s" % (len(encoded), encoded)


def message_of(said: bytes) -> str:
    """The text of the error that was said first."""
    body: dict[str, str]
    body, _ = json.JSONDecoder().raw_decode(said.partition(b"\r\n\r\n")[2].decode())
    return body["message"]


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400, "illegal request line"),
        (b"GET /_ping\r\n\r\n", 400, "illegal request line"),
        (b"GET  /_ping  HTTP/1.1\r\nHost: x\r\n\r\n", 400, "illegal request line"),
        (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "illegal request line"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "illegal request line"),
        (b"GET /_ping HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host: header"),
        (b"GET /_ping HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400, "illegal header line"),
        (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nConte", 400, "peer unexpectedly closed connection"),
        (
            b"GET /_ping HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"X%d: y\r\n" % number for number in range(20_000))
            + b"\r\n",
            431,
            "Receive buffer too long",
        ),
        (CREATE + b"Content-Length: -1\r\n\r\n{}", 400, "bad Content-Length"),
        (CREATE + b"Content-Length: ten\r\n\r\n{}", 400, "bad Content-Length"),
        (CREATE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "conflicting Content-Length headers"),
        (CREATE + JSON + b"Content-Length: 99999999999999999999\r\n\r\n{}", 400, "larger than 4194304 bytes"),
        (CREATE + JSON + b"Content-Length: 100\r\n\r\n{}", 400, "request body is incomplete: "),
        (CREATE + JSON + b"Content-Length: 5\r\n\r\n" + b'{"Image":"busybox"}', 400, "invalid JSON: unexpected EOF"),
        (CREATE + JSON + b"Transfer-Encoding: gzip\r\n\r\n{}", 501, "Only Transfer-Encoding: chunked is supported"),
        (CREATE + JSON + b'Transfer-Encoding: chunked\r\n\r\n40\r\n{"Image":', 400, "request body is incomplete: "),
        (CREATE + JSON + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n{"Image":', 400, "illegal chunk header"),
        (CREATE + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 400, "header (text/plain): must be"),
        (CREATE + b"Content-Length: 2\r\n\r\n{}", 400, "unsupported Content-Type header ()"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bytes_that_are_no_request(alive, sent, status, message):
    said = say(alive.socket, sent)
    assert status_of(said) == status
    assert message in message_of(said)


def test_a_request_that_is_none_gets_no_python(alive):
    assert b"bytearray" not in say(alive.socket, b"GET /\x00\xff HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go value of type CreateRequest"),
        (b'"x"', "invalid JSON: json: cannot unmarshal string into Go value of type CreateRequest"),
        (b"1", "invalid JSON: json: cannot unmarshal number into Go value of type CreateRequest"),
        (b"null", "config cannot be empty in order to create a container"),
        (b"{}", "config cannot be empty in order to create a container"),
        (b"[" * 100_000 + b"]" * 100_000, "invalid JSON: exceeded max depth"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "invalid JSON: exceeded max depth"),
        (b'{"HostConfig":{"Memory":NaN}}', "invalid JSON: invalid character 'N' looking for beginning of value"),
        (b'{"HostConfig":{"Memory":Infinity}}', "invalid JSON: invalid character 'I' looking for beginning of value"),
        (
            b'{"HostConfig":{"Memory":1' + b"0" * 5000 + b"}}",
            "invalid JSON: json: cannot unmarshal number 1" + "0" * 31 + " into Go value of type int64",
        ),
        (
            b'{"HostConfig":{"Memory":18446744073709551615}}',
            "invalid JSON: json: cannot unmarshal number 18446744073709551615 into Go value of type int64",
        ),
        (
            b'{"HostConfig":{"Memory":1.5}}',
            f"invalid JSON: json: cannot unmarshal number into Go struct field {MEMORY} of type int64",
        ),
        (b'\xef\xbb\xbf{"Image":"busybox"}', "invalid JSON: invalid character 'ï' looking for beginning of value"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_body_that_is_no_configuration(alive, body, message):
    said = say(alive.socket, create(body))
    assert (status_of(said), message_of(said)) == (400, message)


NUL_IN_CONFIG = {
    "Env": ["A=\0"],
    "Cmd": ["a\0"],
    "Entrypoint": ["\0"],
    "WorkingDir": "/\0",
    "User": "\0",
    "Hostname": "a\0b",
    "Domainname": "\0",
    "Labels": {"a": "\0"},
    "Volumes": {"/a\0": {}},
    "MacAddress": "\0",
    "Shell": ["\0"],
    "Healthcheck": {"Test": ["CMD", "\0"]},
    "NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["\0"]}}},
}
NUL_IN_HOST = {
    "Binds": ["/a\0:/b"],
    "Tmpfs": {"/a": "\0"},
    "Mounts": [{"Type": "tmpfs", "Target": "/a\0"}],
    "NetworkMode": "\0",
    "CgroupParent": "a\0",
    "Sysctls": {"\0": "\0"},
    "ExtraHosts": ["a\0:1.2.3.4"],
    "DnsSearch": ["\0"],
    "DnsOptions": ["\0"],
    "GroupAdd": ["\0"],
    "Devices": [{"PathOnHost": "/dev/\0"}],
    "SecurityOpt": ["label=\0"],
    "MaskedPaths": ["/\0"],
    "ReadonlyPaths": ["/\0"],
    "Annotations": {"\0": "\0"},
    "ContainerIDFile": "\0",
    "VolumeDriver": "\0",
}


@pytest.mark.parametrize(
    "extra",
    [{name: value} for name, value in NUL_IN_CONFIG.items()]
    + [{"HostConfig": {name: value}} for name, value in NUL_IN_HOST.items()],
    ids=str,
)
def test_a_nul_byte_is_refused_wherever_it_hides(alive, extra):
    said = say(alive.socket, create({"Image": "busybox"} | extra))
    assert status_of(said) == 400
    assert message_of(said).endswith(": a NUL byte is not allowed")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/containers/%00/start", 404),
        ("POST", "/containers/never/rename?name=%00", 400),
        ("POST", "/containers/create?name=%00", 400),
        ("POST", "/images/busybox/tag?repo=a&tag=%00", 400),
        ("DELETE", "/images/%00", 400),
        ("DELETE", "/volumes/%00", 404),
        ("GET", "/networks/%00", 404),
        ("POST", "/exec/%00/start", 404),
        ("GET", "/images/json?filters=%00", 400),
    ],
)
def test_a_nul_byte_in_a_name(alive, method, target, status):
    with RawClient(alive.socket) as client:
        body = {"Image": "busybox"} if "create" in target else None
        assert client.ask(method, target, body).status == status


@pytest.mark.parametrize("label", [b"\xff\xfe", b"\\ud800", b"\\udc00\\ud800"])
def test_half_characters_become_whole_ones(engine, label):
    """They couldn't be stored; a decoder in Go does the same."""
    with RawClient(engine.socket) as client:
        body = b'{"Image":"busybox","Labels":{"half":"' + label + b'"}}'
        made = client.ask("POST", "/containers/create", body).json["Id"]
        shown = client.ask("GET", f"/containers/{made}/json").json["Config"]["Labels"]["half"]
        assert set(shown) == {"\ufffd"}
        assert client.ask("DELETE", f"/containers/{made}").status == 204


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("/v1.23/_ping", 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade"),
        ("/v1.99/_ping", 400, "client version 1.99 is too new. Maximum supported API version is 1.51"),
        (f"/v{'9' * 30}.1/_ping", 400, "is too new. Maximum supported API version is 1.51"),
        ("/v1.51", 404, "page not found"),
        ("/nosuch", 404, "page not found"),
        ("/v1.51/nosuch", 404, "page not found"),
        ("//_ping", 404, "page not found"),
        ("/containers//json", 404, "page not found"),
    ],
)
def test_a_path_that_leads_nowhere(alive, target, status, text):
    with RawClient(alive.socket) as client:
        answer = client.ask("GET", target)
    assert answer.status == status
    assert text in answer.body.decode()


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PUT", "BREW"])
def test_a_method_that_leads_nowhere(alive, method):
    with RawClient(alive.socket) as client:
        answer = client.ask(method, "/containers/json")
    assert (answer.status, answer.message) == (404, "page not found")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("OPTIONS", "/containers/json", 200),
        ("OPTIONS", "*", 200),
        ("HEAD", "/_ping", 200),
        ("HEAD", "/containers/json", 200),
        ("HEAD", "/nosuch", 404),
        ("HEAD", "/events", 200),
    ],
)
def test_answers_without_a_body(alive, method, target, status):
    with RawClient(alive.socket) as client:
        for _ in range(2):  # the second shows that the connection is in order
            answer = client.ask(method, target)
            assert (answer.status, answer.body) == (status, b"")


def test_requests_in_one_packet_are_answered_in_their_order(alive):
    ping = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
    said = say(alive.socket, ping + create(b"{bad") + ping)
    statuses = [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 400, 200]


def test_a_body_that_nobody_reads_spoils_nothing(alive):
    body = b"x" * 1000
    head = b"POST /containers/nosuch/kill HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    said = say(alive.socket, head + body + b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]] == [404, 200]


def test_a_body_that_never_comes_keeps_nobody_else_waiting(alive):
    """How long such a client is waited for is a matter of the server's own tests."""
    with dial(alive.socket) as slow:
        slow.sendall(CREATE + JSON + b"Content-Length: 1000\r\n\r\n{")
        with RawClient(alive.socket, timeout_s=5.0) as client:
            assert client.ask("GET", "/_ping").status == 200
            assert client.ask("POST", "/containers/create", {"Image": "nosuch"}).status == 404
    # closed in its middle: the fixture sees that nothing came of it


def test_a_body_that_never_ends_is_cut_off(alive):
    """A client that sends for ever is told so and cut off, long before it has sent for ever."""
    with dial(alive.socket) as endless:
        endless.sendall(CREATE + JSON + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = threading.Thread(target=_send_for_ever, args=(endless,))
        sent.start()
        said = read_all(endless)
        sent.join(20)
    assert not sent.is_alive()
    assert (status_of(said), message_of(said)) == (400, "request body is larger than 4194304 bytes")


def _send_for_ever(connection) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    try:
        while True:
            connection.sendall(chunk)
    except OSError:
        return


def test_many_clients_that_leave_in_the_middle(alive):
    request = create({"Image": "nosuch"})
    for length in range(0, len(request), 7):
        with dial(alive.socket) as hasty:
            hasty.sendall(request[:length])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{bad", 400, "invalid JSON: invalid character 'b' looking for beginning of object key string"),
        (b'{"Cmd":5}', 400, "of type []string"),
        (b'{"Cmd":["true"],"Tty":5}', 400, "of type bool"),
        (b"", 400, "invalid JSON: got EOF while reading request body"),
        (b'{"Cmd":["true"],"DetachKeys":"zz-zz"}', 400, "Invalid detach keys (zz-zz) provided"),
        (b'{"Cmd":["true"]}', 404, "No such container: nosuch"),
    ],
)
def test_an_exec_that_cannot_be(alive, body, status, message):
    with RawClient(alive.socket) as client:
        answer = client.ask("POST", "/containers/nosuch/exec", body)
    assert answer.status == status
    assert message in answer.message


def test_a_text_of_any_size_comes_back_as_an_error(alive):
    """What quotes a client must not end the engine, nor a body that is longer than any may be."""
    name = "/" + "x" * 4_000_000
    with RawClient(alive.socket) as client:
        answer = client.ask("POST", "/volumes/create", {"Name": name})
        assert answer.status == 400
        assert answer.message.startswith("create /xxx")
        answer = client.ask("POST", "/containers/create", {"Image": "busybox", "Env": ["A=" + "x" * 9_000_000]})
        assert (answer.status, answer.message) == (400, "request body is larger than 4194304 bytes")
