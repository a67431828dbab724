"""Lines of a Dockerfile, as dockerd 20.10 reads them (what it said of each was looked up there)."""

import pytest

from handlers.dockerfile.errors import InvalidDockerfile
from handlers.dockerfile.grammar import parse


def read(text):
    return [(each.name, each.flags, each.text, each.line) for each in parse(text).instructions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", [("FROM", (), "a", 1)]),
        ("\n# c\n  from   a  \r\n", [("FROM", (), "a", 3)]),
        ("RUN a \\\n  b", [("RUN", (), "a   b", 1)]),
        ("RUN a \\  \n# between\n b", [("RUN", (), "a  b", 1)]),
        ("RUN a \\\n\n b\nRUN c", [("RUN", (), "a  b", 1), ("RUN", (), "c", 4)]),
        ("RUN a \\", [("RUN", (), "a", 1)]),
        ("# escape=`\nRUN a `\n b\\", [("RUN", (), "a  b\\", 2)]),
        ("# comment\n# escape=`\nRUN a \\\n b", [("RUN", (), "a  b", 3)]),
        ("\ufeffFROM a", [("FROM", (), "a", 1)]),
        ("COPY --from=x --chown=a:b c d", [("COPY", ("--from=x", "--chown=a:b"), "c d", 1)]),
        ('COPY --from="x y" c d', [("COPY", ("--from=x y",), "c d", 1)]),
        ("COPY -- --c d", [("COPY", (), "--c d", 1)]),
        ("RUN <<EOF\necho", [("RUN", (), "<<EOF", 1), ("ECHO", (), "", 2)]),
    ],
)
def test_lines(text, expected):
    assert read(text) == expected


def test_what_is_shown_of_a_step_is_its_lines_joined():
    (instruction,) = parse("run echo \\\n   hi \\\n").instructions
    assert instruction.original == "run echo    hi"


def test_empty_lines_in_an_instruction_are_told_of():
    parsed = parse("FROM a\nRUN b \\\n# comment\n\n c")
    assert parsed.interrupted == ("RUN b  c",)
    assert parse("FROM a\n\n\nRUN b \\\n c").interrupted == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "failed to parse Dockerfile: file with no instructions"),
        ("# only", "failed to parse Dockerfile: file with no instructions"),
        ("# escape=x\nFROM a", "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\"),
        (
            "# escape=`\n# escape=`\nFROM a",
            "failed to parse Dockerfile: only one escape parser directive can be used",
        ),
        (
            "RUN " + "x" * 65536,
            "failed to parse Dockerfile: dockerfile line greater than maximum allowed size of 65535",
        ),
    ],
)
def test_what_is_no_dockerfile(text, message):
    with pytest.raises(InvalidDockerfile) as refusal:
        parse(text)
    assert str(refusal.value) == message
    assert "x" * 20 not in refusal.value.recorded
