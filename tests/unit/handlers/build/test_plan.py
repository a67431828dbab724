"""Stages of a Dockerfile, and what is refused before a build begins; the texts are dockerd's."""

import pytest

from events.errors import InvalidParameter
from handlers.build.plan import Label, plan
from handlers.dockerfile.grammar import parse


def planned(text, target="", labels=None):
    return plan(parse(text), target, labels or {})


def test_stages_and_their_steps():
    found = planned("ARG V=1\nFROM a:$V AS One\nRUN x\nFROM --platform=linux/amd64 b\nCOPY --from=one c d")
    assert [(stage.base, stage.name, stage.platform) for stage in found.stages] == [
        ("a:$V", "one", ""),
        ("b", "", "linux/amd64"),
    ]
    assert [instruction.text for instruction in found.arguments] == ["V=1"]
    assert found.length == 5


def test_a_target_ends_it():
    found = planned("FROM a AS one\nFROM b AS two", target="One")
    assert [stage.base for stage in found.stages] == ["a"]
    with pytest.raises(InvalidParameter, match="failed to reach build target 0 in Dockerfile"):
        planned("FROM a AS one\nFROM b AS two", target="0")


def test_labels_are_the_last_steps():
    found = planned("FROM a\nFROM b", labels={"y": "$x", "a": "1"})
    assert found.stages[0].steps == ()
    assert found.stages[1].steps == (Label(name="a", value="1"), Label(name="y", value="$x"))


LINE = "dockerfile parse error line 2: "
FILE = "failed to parse Dockerfile: "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FOO bar", LINE + "unknown instruction: FOO"),
        ("ENV a", FILE + "ENV must have two arguments"),
        ("ENV a=b c", FILE + 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("ENV =b", LINE + "ENV names can not be blank"),
        ("LABEL", LINE + "LABEL requires at least one argument"),
        (
            "COPY a",
            LINE + "COPY requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
        ),
        ("COPY --foo=x a b", LINE + "Unknown flag: foo"),
        ("COPY --from a b", LINE + "Missing a value on flag: from"),
        ("COPY --from=a --from=b c d", LINE + "Duplicate flag specified: from"),
        ("RUN --security=insecure x", LINE + "Unknown flag: security"),
        ("EXPOSE", LINE + "EXPOSE requires at least one argument"),
        ("USER", LINE + "USER requires exactly one argument"),
        ("WORKDIR", LINE + "WORKDIR requires exactly one argument"),
        ("MAINTAINER", LINE + "MAINTAINER requires exactly one argument"),
        ("VOLUME", LINE + "VOLUME requires at least one argument"),
        ('VOLUME [""]', LINE + "VOLUME specified can not be an empty string"),
        ("SHELL x", LINE + "SHELL requires the arguments to be in JSON form"),
        ("HEALTHCHECK FOO", LINE + 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --foo=1 CMD x", LINE + "Unknown flag: foo"),
        ("ONBUILD", LINE + "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", LINE + "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", LINE + "FROM isn't allowed as an ONBUILD trigger"),
        ("ARG", LINE + "ARG requires at least one argument"),
        ("FROM", LINE + "FROM requires either one or three arguments"),
        ("FROM a b c", LINE + "FROM requires either one or three arguments"),
        (
            "FROM a as 1a",
            LINE + 'invalid name for build stage: "1a", name can\'t start with a number or contain symbols',
        ),
    ],
)
def test_what_is_refused(line, message):
    with pytest.raises(InvalidParameter) as refusal:
        planned(f"FROM a\n{line}")
    assert str(refusal.value) == message


@pytest.mark.parametrize("text", ["RUN x", "ARG a=b"])
def test_without_a_stage(text):
    with pytest.raises(InvalidParameter, match="no build stage in current context"):
        planned(text)


@pytest.mark.parametrize("line", ["RUN", "CMD", "ENTRYPOINT", "ONBUILD FOO x", "USER a b", "ARG a b"])
def test_what_dockerd_takes_too(line):
    assert planned(f"FROM a\n{line}").length == 2
