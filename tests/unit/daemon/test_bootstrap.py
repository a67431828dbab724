"""What the composition does besides composing: it loads the AppArmor profile, or says why it can't."""

import logging
from pathlib import Path

from daemon.bootstrap import load
from handlers.exec.drivers.apparmor import DefaultProfile
from tests.fakes.processes import some_facts


def parser(directory: Path, script: str) -> DefaultProfile:
    program = directory / "parser"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return DefaultProfile(str(program))


async def test_the_profile_is_loaded_where_the_kernel_has_apparmor(tmp_path):
    profile = parser(tmp_path, f"cat > {tmp_path}/given")
    assert await load(profile, some_facts(apparmor=False)) == ()
    assert not (tmp_path / "given").exists()
    assert await load(profile, some_facts(apparmor=True)) == ()
    assert (tmp_path / "given").exists()


async def test_why_it_is_not_loaded_is_logged_and_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        told = await load(parser(tmp_path, "echo too old; exit 2"), some_facts(apparmor=True))
    why = "ontainers run without an AppArmor profile: apparmor_parser: too old (exit 2)"
    assert told == (f"WARNING: C{why}",)
    assert f"c{why}" in caplog.text
