"""The default profile compiles, is handed to the parser, and is loaded again only where it is missing."""

import os
from pathlib import Path

import pytest

from events.errors import SystemFailure
from handlers.exec.drivers.apparmor import NAME, PROFILE, DefaultProfile, of_label, of_process
from handlers.kernel import processes


@pytest.fixture
def parser(tmp_path: Path) -> Path:
    """A parser that keeps what it is given."""
    return write_parser(tmp_path, f'echo "$@" >> {tmp_path}/arguments\ncat > {tmp_path}/profile')


def write_parser(directory: Path, script: str) -> Path:
    program = directory / "parser"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


async def test_the_profile_compiles():
    compiled = await processes.run(
        ["/usr/sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache"], timeout_s=30, text=PROFILE
    )
    assert compiled.code == 0, compiled.output


async def test_the_profile_is_loaded(parser):
    await DefaultProfile(str(parser)).load()
    assert (parser.parent / "profile").read_text() == PROFILE
    assert (parser.parent / "arguments").read_text() == "--replace --skip-cache --quiet\n"


async def test_it_is_loaded_again_only_where_it_is_missing(parser, tmp_path):
    loaded, calls = tmp_path / "profiles", tmp_path / "arguments"
    profile = DefaultProfile(str(parser), loaded)
    await profile.ensure(NAME)  # no list: no AppArmor, nothing to see to
    loaded.write_text(f"{NAME} (enforce)\nother (enforce)\n")
    await profile.ensure(NAME)
    loaded.write_text(f"{NAME}2 (enforce)\nother (enforce)\n")
    for name in ("", "unconfined", "theirs"):
        await profile.ensure(name)
    assert not calls.exists()
    await profile.ensure(NAME)
    assert calls.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo syntax error; exit 3", "apparmor_parser: syntax error (exit 3)"), ("", "apparmor_parser (Debian package")],
)
async def test_why_it_can_not_be_loaded(tmp_path, script, said):
    program = str(write_parser(tmp_path, script)) if script else ""
    with pytest.raises(SystemFailure) as caught:
        await DefaultProfile(program).load()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("label", "profile"),
    [("ours (enforce)\n", "ours"), ("/usr/bin/x (complain)", "/usr/bin/x"), ("unconfined\n", "unconfined")],
)
def test_the_name_in_a_label(label, profile):
    assert of_label(label) == profile


def test_a_process_that_is_not_there_has_no_profile():
    assert of_process(0) == ""
    assert of_process(os.getpid()) in ("", "unconfined")
