import json
import time

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from daemon.http.json import decode_body
from daemon.http.json_syntax import explain
from events.base import docker_name
from events.errors import InvalidParameter

JSON = "application/json"


class Inner(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    host_port: str = ""
    memory: int = 0


class Body(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    image: str = ""
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    volumes: dict[str, dict[str, str]] = {}
    host_config: Inner = Inner()
    networks: dict[str, Inner] = {}
    ports: dict[str, tuple[Inner, ...]] = {}
    console_size: tuple[int, int] = (0, 0)
    ratio: float = 0.0
    tty: bool = False
    init: bool | None = None
    mode: str = "rwm"


class Named(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    name: str
    soft: int = 0


def decode(text: str | bytes, go_names: dict[str, str] | None = None) -> Body:
    body = text.encode() if isinstance(text, str) else text
    return decode_body(body, JSON, Body, optional=False, lists_of_strings=frozenset({"Cmd"}), go_names=go_names)


def refusal(text: str | bytes, go_names: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidParameter) as raised:
        decode(text, go_names)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"Image":"a","Tty":true}', Body(image="a", tty=True)),
        ('{"image":"a","HOSTCONFIG":{"hostport":"1"}}', Body(image="a", host_config=Inner(host_port="1"))),
        ('{"IMAGE":"other","Unknown":{"x":[1]},"Image":"a"}', Body(image="a")),
        ('{"Image":null,"HostConfig":null,"Mode":null,"Init":null,"Cmd":null,"Env":null}', Body()),
        ("null", Body()),
        (' \r\n{"Cmd":"ls -l"}\n\t ', Body(cmd=("ls -l",))),
        ('{"Cmd":["ls","-l"]}', Body(cmd=("ls", "-l"))),
        ('{"Cmd":[]}', Body(cmd=())),
        ('{"Env":["a",null]}', Body(env=("a", ""))),
        ('{"Labels":{"a":null,"b":"c"}}', Body(labels={"a": "", "b": "c"})),
        ('{"Volumes":{"/x":null}}', Body(volumes={"/x": {}})),
        ('{"Networks":{"n":null}}', Body(networks={"n": Inner()})),
        (
            '{"Ports":{"80/tcp":null,"81/tcp":[null,{"HostPort":"1"}]}}',
            Body(ports={"80/tcp": (), "81/tcp": (Inner(), Inner(host_port="1"))}),
        ),
        ('{"ConsoleSize":[24,80]}', Body(console_size=(24, 80))),
        ('{"ConsoleSize":[24]}', Body(console_size=(24, 0))),
        ('{"ConsoleSize":[1,2,3]}', Body(console_size=(1, 2))),
        ('{"Ratio":1}', Body(ratio=1.0)),
        ('{"HostConfig":{"Memory":-9223372036854775808}}', Body(host_config=Inner(memory=-(2**63)))),
        ('{"Image":"\\ud83d\\ude00 \\ud83d \\\\ud83d"}', Body(image="\U0001f600 \ufffd \\ud83d")),
        (b'{"Image":"\xff"}', Body(image="\ufffd")),
    ],
)
def test_decodes(text: str | bytes, expected: Body):
    assert decode(text) == expected


def test_a_required_field_that_is_null_is_zero():
    assert decode_body(b'{"Name":null}', JSON, Named, optional=False) == Named(name="")


def test_types_that_are_no_structs():
    assert decode_body(b'[{"Name":"a"}]', JSON, tuple[Named, ...], optional=False) == (Named(name="a"),)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", ' application/json ;x="y"']
)
def test_content_type(content_type: str):
    assert decode_body(b"{}", content_type, Body, optional=False) == Body()


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/jsonx", "application/x-tar"])
def test_wrong_content_type(content_type: str):
    with pytest.raises(InvalidParameter) as raised:
        decode_body(b"{}", content_type, Body, optional=True)
    assert str(raised.value) == f"unsupported Content-Type header ({content_type}): must be 'application/json'"


@pytest.mark.parametrize("content_type", ["text/plain", "", JSON])
def test_an_empty_body(content_type: str):
    assert decode_body(b"", content_type, Body, optional=True) == Body()
    with pytest.raises(InvalidParameter, match=r"^invalid JSON: got EOF while reading request body$"):
        decode_body(b"", content_type, Body, optional=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{bad", "invalid character 'b' looking for beginning of object key string"),
        ("{", "unexpected EOF"),
        ('{"a"', "unexpected EOF"),
        ('{"a":"b', "unexpected EOF"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("nope", "invalid character 'o' in literal null (expecting 'u')"),
        ("tru3", "invalid character '3' in literal true (expecting 'e')"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ('{"Image":NaN}', "invalid character 'N' looking for beginning of value"),
        ('{"Image":-Infinity}', "invalid character 'I' in numeric literal"),
        ('{"Image":"\n"}', "invalid character '\\n' in string literal"),
        ('{"Image":"\\x"}', "invalid character 'x' in string escape code"),
        ('{"Image":"\\u12g4"}', "invalid character 'g' in \\u hexadecimal character escape"),
        ("[1.x]", "invalid character 'x' after decimal point in numeric literal"),
        ("[1ex]", "invalid character 'x' in exponent of numeric literal"),
        ("[01]", "invalid character '1' after array element"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
        ("\ufeff{}", "invalid character 'ï' looking for beginning of value"),
        (
            '{"HostConfig":{"Memory":99999999999999999999}}',
            "json: cannot unmarshal number 99999999999999999999 into Go value of type int64",
        ),
        (
            '{"HostConfig":{"Memory":9223372036854775808}}',
            "json: cannot unmarshal number 9223372036854775808 into Go value of type int64",
        ),
        ('{"Ratio":1e999}', "json: cannot unmarshal number 1e999 into Go value of type int64"),
        ("[" * 513 + "]" * 513, "exceeded max depth"),
        ("[" * 100_000, "exceeded max depth"),
        ('{"a":' * 100_000, "exceeded max depth"),
        ('{"Image":5}', "json: cannot unmarshal number into Go struct field Body.Image of type string"),
        ('{"Image":["a"]}', "json: cannot unmarshal array into Go struct field Body.Image of type string"),
        ('{"Image":{}}', "json: cannot unmarshal object into Go struct field Body.Image of type string"),
        ('{"Tty":"x"}', "json: cannot unmarshal string into Go struct field Body.Tty of type bool"),
        ('{"Init":1}', "json: cannot unmarshal number into Go struct field Body.Init of type bool"),
        (
            '{"HostConfig":{"Memory":"1"}}',
            "json: cannot unmarshal string into Go struct field Body.HostConfig.Memory of type int64",
        ),
        (
            '{"HostConfig":{"Memory":1.5}}',
            "json: cannot unmarshal number into Go struct field Body.HostConfig.Memory of type int64",
        ),
        ('{"Env":"a"}', "json: cannot unmarshal string into Go struct field Body.Env of type []string"),
        ('{"Env":[1]}', "json: cannot unmarshal number into Go struct field Body.Env of type string"),
        ('{"Labels":{"a":1}}', "json: cannot unmarshal number into Go struct field Body.Labels of type string"),
        (
            '{"Ports":{"a.b":[{"HostPort":1}]}}',
            "json: cannot unmarshal number into Go struct field Body.Ports.HostPort of type string",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type Body"),
        ("1", "json: cannot unmarshal number into Go value of type Body"),
    ],
)
def test_refuses(text: str, reason: str):
    assert refusal(text) == f"invalid JSON: {reason}"


@pytest.mark.parametrize("text", ["{} x", "{}{}", "{}]", "null,"])
def test_more_than_one_value(text: str):
    assert refusal(text) == "unexpected content after JSON"


def test_a_missing_field():
    with pytest.raises(InvalidParameter, match=r"^invalid JSON: missing field Name$"):
        decode_body(b"{}", JSON, Named, optional=False)


def test_names_that_docker_has_for_paths():
    names = {"": "CreateRequest.Config", "HostConfig": "CreateRequest.HostConfig", "HostConfig.Memory": "X.Memory"}
    wrong = "invalid JSON: json: cannot unmarshal"
    assert (
        refusal('{"Image":5}', go_names=names)
        == f"{wrong} number into Go struct field CreateRequest.Config.Image of type string"
    )
    assert "field CreateRequest.HostConfig.HostPort of" in refusal('{"HostConfig":{"HostPort":1}}', go_names=names)
    assert "field X.Memory of" in refusal('{"HostConfig":{"Memory":""}}', go_names=names)
    assert refusal("[]", go_names=names) == f"{wrong} array into Go value of type CreateRequest"


def test_unknown_fields_may_be_deep_but_not_too_deep():
    assert decode('{"x":' + "[" * 500 + "]" * 500 + "}") == Body()


LONG = 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[" + b"1," * (LONG // 2) + b"]", f"invalid JSON: cannot be decoded at character {LONG + 1}"),
        (b"[" + b'"a",' * (LONG // 4) + b"x", f"invalid JSON: cannot be decoded at character {LONG + 1}"),
        (b"[" + b'"a",' * 10 + b"x" * LONG, "invalid JSON: invalid character 'x' looking for beginning of value"),
        (b'{"a":"' + b"x" * LONG, "invalid JSON: unexpected EOF"),
        (b"[" + b"[]," * 600 + b'"' + b'\\"' * (LONG // 2), "invalid JSON: unexpected EOF"),
        (b"[" * LONG, "invalid JSON: exceeded max depth"),
        (b"[" + b"[]," * (LONG // 3) + b"[" * 600, "invalid JSON: exceeded max depth"),
    ],
    ids=["numbers", "strings", "early", "unterminated", "escaped-quotes", "deep", "wide-and-deep"],
)
def test_a_long_malformed_body_is_refused_quickly(body: bytes, text: str):
    began = time.thread_time()
    assert refusal(body) == text
    assert time.thread_time() - began < 3  # far below what looking at every byte takes


@given(st.binary(max_size=200))
def test_bytes_are_decoded_or_refused(body: bytes):
    try:
        decode_body(body, JSON, Body, optional=True, lists_of_strings=frozenset({"Cmd"}))
    except InvalidParameter as error:
        assert str(error)  # noqa: PT017  # both ways are fine, so pytest.raises can't be used


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_KEYS = st.sampled_from(
    [field.encode_name for field in msgspec.structs.fields(Body)] + ["HostPort", "Memory"]
) | st.text(max_size=3)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_any_value_is_decoded_or_refused_and_can_be_encoded_again(value: dict[str, object]):
    body = json.dumps(value).encode()
    try:
        decoded = decode_body(body, JSON, Body, optional=False, lists_of_strings=frozenset({"Cmd"}))
    except InvalidParameter as error:
        assert str(error)  # noqa: PT017
    else:
        msgspec.json.encode(decoded)


_TOKENS = st.sampled_from([*'{}[],:"\\-+.eE019 \nntfu', '"a"', "true", "null", "1.5e-3", "\\u00"])


@settings(max_examples=300)
@given(st.lists(_TOKENS, max_size=12).map("".join))
def test_a_fault_is_found_where_there_is_one_and_nowhere_else(text: str):
    try:
        json.loads(text, parse_constant=pytest.fail)
    except ValueError:
        pass
    else:
        assert explain(text.encode()) == ""
    try:
        json.JSONDecoder().raw_decode(text.lstrip(" \t\r\n"))
    except ValueError:
        assert explain(text.encode()) != ""
