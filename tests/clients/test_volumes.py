"""Volumes, binds and tmpfs as the docker CLI asks for them."""

import json

import pytest

pytestmark = pytest.mark.root


def test_a_named_volume_keeps_what_is_written(engine):
    engine.docker("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert engine.out("run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/file") == "kept"
    readonly = engine.docker("run", "--rm", "-v", "data:/data:ro", "busybox", "touch", "/data/x", check=False)
    assert b"Read-only file system" in readonly.stderr
    assert json.loads(engine.out("volume", "inspect", "data"))[0]["Driver"] == "local"
    assert "data" in engine.out("volume", "ls", "-q").split()
    engine.docker("volume", "rm", "data")


def test_a_volume_in_use_stays(engine):
    engine.docker("create", "--name", "user", "-v", "used:/x", "busybox")
    refused = engine.docker("volume", "rm", "used", check=False)
    assert b"volume is in use" in refused.stderr
    engine.docker("rm", "user")
    engine.docker("volume", "rm", "used")


def test_an_empty_volume_gets_the_images_content(engine):
    assert "passwd" in engine.out("run", "--rm", "-v", "etc:/etc", "busybox", "ls", "/etc").split()
    engine.docker("run", "--rm", "-v", "etc:/etc", "busybox", "rm", "/etc/passwd")
    assert "passwd" not in engine.out("run", "--rm", "-v", "etc:/x", "busybox", "ls", "/x").split()
    assert "passwd" not in engine.out("run", "--rm", "-v", "etc:/etc", "busybox", "ls", "/etc").split()
    engine.docker("volume", "rm", "etc")


def test_anonymous_volumes_go_with_their_container(engine):
    engine.docker("create", "--name", "anonymous", "-v", "/scratch", "busybox")
    (mount,) = engine.inspect("anonymous")["Mounts"]
    assert mount["Name"] in engine.out("volume", "ls", "-q").split()
    engine.docker("rm", "-v", "anonymous")
    assert mount["Name"] not in engine.out("volume", "ls", "-q").split()
    engine.docker("run", "--rm", "-v", "/scratch", "busybox", "true")
    assert engine.out("volume", "ls", "-q") == ""


def test_binds(engine):
    source = engine.directory / "shared"
    assert engine.out("run", "--rm", "-v", f"{source}:/in", "busybox", "sh", "-c", "echo x > /in/f; ls /in") == "f"
    assert (source / "f").read_text() == "x\n"
    mount = f"type=bind,source={source},target=/in,readonly"
    assert (
        b"Read-only" in engine.docker("run", "--rm", "--mount", mount, "busybox", "touch", "/in/g", check=False).stderr
    )
    missing = engine.docker("run", "--rm", "--mount", "type=bind,source=/nosuchdir,target=/x", "busybox", check=False)
    assert missing.returncode == 125
    assert b"bind source path does not exist: /nosuchdir" in missing.stderr


def test_volumes_from(engine):
    engine.docker("run", "--name", "source", "-v", "shared:/s", "busybox", "sh", "-c", "echo hi > /s/f")
    assert engine.out("run", "--rm", "--volumes-from", "source", "busybox", "cat", "/s/f") == "hi"
    engine.docker("rm", "source")
    engine.docker("volume", "rm", "shared")


def test_tmpfs_options(engine):
    out = engine.out(
        "run", "--rm", "--tmpfs", "/t:size=1m,mode=700", "busybox", "sh", "-c", "mount | grep ' /t '; stat -c %a /t"
    )
    assert "size=1024k" in out
    assert out.endswith("700")
