import hypothesis.strategies as st
import pytest
from hypothesis import given

from daemon.http import query
from events.errors import InvalidParameter


@pytest.mark.parametrize("no", ["", "0", "no", "false", "none", "FALSE", " No "])
def test_no(no: str):
    assert not query.boolean({"all": [no]}, "all", default=True)


@pytest.mark.parametrize("yes", ["1", "true", "x", "2", "yes"])
def test_yes(yes: str):
    assert query.boolean({"all": [yes]}, "all")


def test_absent():
    assert query.boolean({}, "rm", default=True)
    assert not query.boolean({}, "all")
    assert query.integer({"limit": [""]}, "limit", 7) == 7
    assert query.text({}, "tag", "latest") == "latest"
    assert query.text({"tag": ["a", "b"]}, "tag") == "a"


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("-5", -5), ("+5", 5), ("007", 7)])
def test_integer(text: str, value: int):
    assert query.integer({"t": [text]}, "t") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", '"x": invalid syntax'),
        ("1_0", '"1_0": invalid syntax'),
        (" 1", '" 1": invalid syntax'),
        ("٣", '"٣": invalid syntax'),
        ("1.5", '"1.5": invalid syntax'),
        ("9223372036854775808", '"9223372036854775808": value out of range'),
        ("9" * 5000, '"' + "9" * 5000 + '": value out of range'),
    ],
)
def test_not_an_integer(text: str, reason: str):
    with pytest.raises(InvalidParameter) as raised:
        query.integer({"t": [text]}, "t")
    assert str(raised.value) == f"strconv.Atoi: parsing {reason}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("{}", {}),
        ("null", {}),
        ('{"a":{"x":true,"y":false}}', {"a": ("x", "y")}),
        ('{"a":["x","y","x"]}', {"a": ("x", "y")}),
        ('{"a":["x"],"b":{"y":true},"c":null}', {"a": ("x",), "b": ("y",), "c": ()}),
    ],
)
def test_filters(text: str, expected: query.Filters):
    assert query.filters({"filters": [text]}) == expected


@pytest.mark.parametrize(
    "text", ["x", "[]", '{"a":"b"}', '{"a":[1]}', '{"a":{"b":1}}', '{"a":', "[" * 5000, '"\ud800"']
)
def test_not_filters(text: str):
    with pytest.raises(InvalidParameter, match=r"^invalid filter$"):
        query.filters({"filters": [text]})


def test_unknown_filter():
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'foo'$"):
        query.filters({"filters": ['{"foo":["x"]}']}, frozenset({"label"}))


@pytest.mark.parametrize(
    ("found", "expected"),
    [({}, True), ({"d": ("1",)}, True), ({"d": ("true", "1")}, True), ({"d": ("0", "false")}, False)],
)
def test_filter_boolean(found: query.Filters, expected: bool):
    assert query.filter_boolean(found, "d", default=True) is expected


@pytest.mark.parametrize(("values", "shown"), [(("x",), "x"), (("1", "0"), "1 0"), ((), ""), (("TRUE",), "TRUE")])
def test_not_a_filter_boolean(values: tuple[str, ...], shown: str):
    with pytest.raises(InvalidParameter) as raised:
        query.filter_boolean({"dangling": values}, "dangling", default=False)
    assert str(raised.value) == f"invalid filter 'dangling=[{shown}]'"


@given(st.text(max_size=30))
def test_anything_is_filters_or_refused(text: str):
    try:
        query.filters({"filters": [text]})
    except InvalidParameter as error:
        assert str(error) == "invalid filter"  # noqa: PT017
