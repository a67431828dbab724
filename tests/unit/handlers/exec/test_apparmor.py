"""The default profile is handed to the parser where the kernel has AppArmor; a failure is told, not raised."""

import logging
from pathlib import Path

import pytest

from handlers.exec.drivers.apparmor import NAME, PROFILE, ensure_profile
from tests.fakes.processes import some_facts

WITH = some_facts(apparmor=True)


@pytest.fixture
def parser(tmp_path: Path) -> Path:
    """A parser that keeps what it is given."""
    program = tmp_path / "parser"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/profile\n')
    program.chmod(0o755)
    return program


async def test_the_profile_is_loaded(parser):
    assert await ensure_profile(WITH, parser=str(parser)) == NAME
    assert (parser.parent / "profile").read_text() == PROFILE
    assert (parser.parent / "arguments").read_text() == "--replace --quiet\n"


async def test_a_kernel_without_apparmor_is_left_alone(parser):
    assert await ensure_profile(some_facts(), parser=str(parser)) == ""
    assert not (parser.parent / "profile").exists()


async def test_a_parser_that_fails_or_is_missing_is_told(parser, caplog):
    parser.write_text("#!/bin/sh\necho syntax error; exit 1\n")
    with caplog.at_level(logging.WARNING):
        assert await ensure_profile(WITH, parser=str(parser)) == ""
        assert await ensure_profile(WITH, parser="/nosuch") == ""
    assert "syntax error" in caplog.text
    assert "run /nosuch: no such file or directory" in caplog.text


def test_every_line_of_the_profile_is_ended():
    body = [line.strip() for line in PROFILE.splitlines() if line.startswith("  ") and "#" not in line]
    assert body
    assert all(line.endswith(",") for line in body)
