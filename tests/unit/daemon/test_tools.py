"""What is said of programs that the host lacks, and how versions are read."""

import shutil
from pathlib import Path

import pytest

from daemon.tools import REQUIRED, MissingTools, Tools, component, components, find_tools


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A search path with everything that is required, as programs that say nothing."""
    for tool in REQUIRED:
        program(tmp_path / tool.name, "true")
    return tmp_path


def program(file: Path, script: str) -> str:
    file.write_text(f"#!{shutil.which('sh')}\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_everything_is_found(path):
    program(path / "tini", "true")
    other = program(path / "crun", "true")
    tools = find_tools({"crun": other, "short": "crun"}, init=True, path=str(path))
    assert tools.nats_server == str(path / "nats-server")
    assert tools.runtimes == {"runc": str(path / "runc"), "crun": other, "short": other}
    assert (tools.init, tools.iptables) == (str(path / "tini"), "")


def test_all_that_is_missing_is_named_with_its_package(path):
    (path / "conmon").unlink()
    (path / "nats-server").chmod(0o644)
    with pytest.raises(MissingTools) as caught:
        find_tools({"kata": "/absent/kata"}, init=True, path=str(path))
    assert str(caught.value).splitlines() == [
        "missing: nats-server (Debian package nats-server)",
        "missing: conmon (Debian package conmon)",
        "missing: /absent/kata (runtime kata of the configuration)",
        "missing: tini (Debian package tini)",
    ]


def test_an_init_is_only_missed_when_it_is_wanted(path):
    assert find_tools({}, init=False, path=str(path)).init == ""


@pytest.mark.parametrize(
    ("text", "version", "details"),
    [
        ("conmon version 2.1.6\ncommit: unknown\n", "2.1.6", {}),
        ("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\nspec: 1.0.2-dev\n", "1.1.5+ds1", {"GitCommit": "1.1.5+ds1-1"}),
        ("nats-server: v2.9.10\n", "2.9.10", {}),
        ("tini version 0.19.0\n", "0.19.0", {}),
        ("", "", {}),
    ],
)
def test_versions_are_read(text, version, details):
    read = component("tool", text)
    assert (read.version, read.details) == (version, details)


async def test_versions_are_asked_for(path):
    conmon = program(path / "conmon", "echo conmon version 1.2.3")
    tools = Tools(nats_server="/absent", conmon=conmon, runtimes={"runc": str(path / "runc")})
    assert [(item.name, item.version) for item in await components(tools)] == [
        ("conmon", "1.2.3"),
        ("runc", ""),
        ("nats-server", ""),
    ]
