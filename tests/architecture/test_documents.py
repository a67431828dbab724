"""The documents speak of files and flags that exist: a map that is wrong is worse than none."""

import re
from pathlib import Path

import pytest

from daemon.flags import DIRECTIVES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md")
TOPS = ("daemon", "handlers", "events", "clients", "tests", "ops", ".ci")
_CODE = re.compile(r"`([^`\n]+)`|^ {4}(.+)$|^```.*?$(.*?)^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(map(re.escape, TOPS))})/[\w./*<>{{}},-]*[\w/*}}>])")
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]+[a-z])")


def code(document: str) -> str:
    """Everything in a document that is set as code."""
    text = (ROOT / document).read_text()
    return "\n".join("".join(match.groups(default="")) for match in _CODE.finditer(text))


def paths(document: str) -> set[str]:
    """Paths of the checkout that a document names; what has a placeholder in it is none."""
    return {path for path in _PATH.findall(code(document)) if not set("<{") & set(path)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_exists(document):
    named = paths(document)
    assert named
    assert {path for path in named if not list(ROOT.glob(path))} == set()


def test_every_flag_of_the_daemon_in_the_readme_exists():
    options = {"help", *(row.option for row in DIRECTIVES)}
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if "shiplogd" in line]
    assert lines
    named = {flag for line in lines for flag in _FLAG.findall(line)}
    assert named
    assert named - options == set()


def test_the_readme_s_commands_are_programs():
    for program in ("ops/quickstart", "ops/test", "ops/setup", "ops/check", "ops/bench"):
        assert (ROOT / program).stat().st_mode & 0o111, program
        assert program in code("README.md"), program
