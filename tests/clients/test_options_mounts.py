"""Mounts as they are asked for with `docker run`, seen from inside the container and in what inspect says."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.options import refusal, run
from tests.clients.raw import RawClient
from tests.engines import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def host(engine):
    """A directory of the host with a file, a directory, and something mounted below it."""
    place = engine.directory / "host"
    (place / "sub").mkdir(parents=True)
    (place / "below").mkdir()
    (place / "file").write_text("from the host")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place / "below")], check=True)
    (place / "below" / "deep").write_text("deep")
    yield place
    subprocess.run(["umount", str(place / "below")], check=True)


@pytest.fixture(scope="module")
def shared(engine):
    """A directory of the host whose mounts spread."""
    place = engine.directory / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    subprocess.run(["mount", "--make-shared", str(place)], check=True)
    (place / "in").mkdir()
    yield place
    subprocess.run(["umount", "-R", str(place)], check=True)


def shown(engine, *options: str):
    """What inspect says of the mounts of a container that is made and removed again."""
    engine.docker("create", "--name", "shown", *options, "busybox", "true")
    mounts = json.loads(engine.out("inspect", "--format", "{{json .Mounts}}", "shown"))
    engine.docker("rm", "-f", "-v", "shown")
    return mounts


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-v", "nv:/a", "-v", "nv2:/a/"), "Duplicate mount point: /a"),
        (("-v", "nv:/a", "--tmpfs", "/a"), "Duplicate mount point: /a"),
        (("-v", "nv:/a", "--mount", "type=volume,source=nv2,target=/a"), "Duplicate mount point: /a"),
        (("-v", "nv:/a:bogus"), "invalid mode: bogus"),
        (("-v", "nv:/a:ro,rw"), "invalid mode: ro,rw"),
        (
            ("-v", "nv:/a:shared"),
            "'nv:/a:shared': invalid mount config for type \"volume\": field BindOptions must not",
        ),
        (("-v", "nv:/"), "invalid mount config for type \"volume\": invalid specification: destination can't be '/'"),
        (("-v", "nv:rel"), "invalid mount config for type \"volume\": invalid mount path: 'rel' mount path must be"),
        (("--mount", "type=bind,source=/nosuch/dir,target=/a"), "bind source path does not exist: /nosuch/dir"),
        (("--mount", "type=tmpfs,source=x,target=/a"), "field Source must not be specified"),
        (("--mount", "type=bogus,target=/a"), 'invalid mount config for type "bogus": mount type unknown'),
        (("--mount", "type=volume,source=nv,target=/a,volume-subpath=../x"), "must be a relative path within the"),
        (("--volumes-from", "nosuch"), "No such container: nosuch"),
    ],
)
def test_what_cannot_be_mounted(engine, options, text):
    assert text in refusal(engine, *options)


def test_a_subpath_that_is_not_there(engine):
    assert "nosuch" in refusal(engine, "--mount", "type=volume,source=subbed,target=/a,volume-subpath=nosuch")


def test_propagation_that_the_host_does_not_have(engine, host):
    subprocess.run(["mount", "--make-private", str(host / "below")], check=True)
    said = refusal(engine, "-v", f"{host}/below:/a:rshared")
    assert f"path {host}/below is mounted on {host}/below but it is not a shared mount" in said
    said = refusal(engine, "--mount", f"type=bind,source={host}/below,target=/a,bind-propagation=slave")
    assert "but it is not a shared or slave mount" in said


# ---- binds


def test_a_bind_and_what_is_mounted_below_it(engine, host):
    assert run(engine, "-v", f"{host}:/a", script="cat /a/file /a/below/deep") == "from the hostdeep"
    alone = f"type=bind,source={host},target=/a,bind-recursive=disabled"
    assert run(engine, "--mount", alone, script="cat /a/file; ls /a/below") == "from the host"


def test_read_only_is_so_all_the_way_down(engine, host):
    script = "touch /a/x 2>/dev/null && echo top; touch /a/below/x 2>/dev/null && echo below; true"
    assert run(engine, "-v", f"{host}:/a:ro", script=script) == ""
    for recursion, expected in (("enabled", ""), ("writable", "below"), ("readonly", "")):
        options = f"type=bind,source={host},target=/a,readonly,bind-recursive={recursion}"
        if recursion == "readonly":
            options += ",bind-propagation=rprivate"
        assert run(engine, "--mount", options, script=script) == expected, recursion
    (host / "below" / "x").unlink()


def test_a_file_can_be_bound(engine, host):
    assert run(engine, "-v", f"{host}/file:/etc/motd:ro", script="cat /etc/motd") == "from the host"


def test_a_missing_source_is_made_for_v_alone(engine, host):
    run(engine, "-v", f"{host}/made/here:/a", script="touch /a/x")
    assert (host / "made/here/x").exists()
    body = {
        "Image": "busybox",
        "Cmd": ["touch", "/a/y"],
        "HostConfig": {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": f"{host}/made/too",
                    "Target": "/a",
                    "BindOptions": {"CreateMountpoint": True},
                }
            ]
        },
    }
    with RawClient(engine.socket) as client:
        assert client.ask("POST", "/containers/create?name=maker", body).status == 201
    engine.docker("start", "-a", "maker")
    engine.docker("rm", "maker")
    assert (host / "made/too/y").exists()


@pytest.mark.parametrize(
    ("propagation", "field", "seen_inside", "seen_outside"),
    [("rprivate", "", False, False), ("rslave", "master:", True, False), ("rshared", "shared:", True, True)],
)
def test_propagation(engine, shared, propagation, field, seen_inside, seen_outside):
    engine.docker(
        "run", "-d", "--name", "spreads", "--privileged", "-v", f"{shared}:/a:{propagation}", "busybox", "sleep", "1000"
    )
    try:
        line = next(
            line for line in engine.out("exec", "spreads", "cat", "/proc/self/mountinfo").splitlines() if " /a " in line
        )
        optional = line.partition(" - ")[0].split()[6:]
        assert any(each.startswith(field) for each in optional) if field else not optional
        subprocess.run(["mount", "-t", "tmpfs", "none", str(shared / "in")], check=True)
        (shared / "in" / "late").touch()
        assert ("late" in engine.out("exec", "spreads", "ls", "/a/in")) is seen_inside
        subprocess.run(["umount", str(shared / "in")], check=True)
        engine.docker("exec", "spreads", "sh", "-c", "mkdir -p /a/own && mount -t tmpfs none /a/own && touch /a/own/in")
        assert (shared / "own" / "in").exists() is seen_outside
    finally:
        engine.docker("rm", "-f", "spreads")
        subprocess.run(["umount", str(shared / "own")], check=False, capture_output=True)


def test_labels_of_another_security_module_change_nothing(engine, host):
    for mode in ("z", "Z", "ro,Z", "rw,z"):
        assert run(engine, "-v", f"{host}:/a:{mode}", script="cat /a/file") == "from the host"
        assert shown(engine, "-v", f"{host}:/a:{mode}")[0]["Mode"] == mode


# ---- volumes


def test_an_image_fills_an_empty_volume_unless_told_not_to(engine):
    assert "passwd" in run(engine, "-v", "filled:/etc", script="ls /etc")
    assert "passwd" not in run(engine, "-v", "bare:/etc:nocopy", script="ls /etc")
    options = "type=volume,source=bare2,target=/etc,volume-nocopy"
    assert "passwd" not in run(engine, "--mount", options, script="ls /etc")


def test_a_volume_by_its_options_and_labels(engine):
    options = (
        "type=volume,source=sized,target=/a,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=2m,"
        "volume-label=own=1"
    )
    engine.docker("run", "--name", "sizer", "--mount", options, "busybox", "sh", "-c", "mount | grep ' /a ' >/a/told")
    volume = json.loads(engine.out("volume", "inspect", "sized"))[0]
    assert volume["Labels"] == {"own": "1"}
    assert volume["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=2m"}
    assert "size=2048k" in run(engine, "--volumes-from", "sizer", script="mount | grep ' /a '")
    engine.docker("rm", "sizer")


def test_a_part_of_a_volume(engine):
    run(engine, "-v", "parted:/a", script="mkdir -p /a/one/two; echo part >/a/one/two/f; ln -s /etc /a/out")
    part = "type=volume,source=parted,target=/b,volume-subpath=one/two"
    assert run(engine, "--mount", part, script="cat /b/f") == "part"
    refused = refusal(engine, "--mount", "type=volume,source=parted,target=/b,volume-subpath=out")
    assert "passwd" not in refused


def test_anonymous_volumes_live_and_go_with_their_container(engine):
    engine.docker("create", "--name", "owner", "-v", "/a", "--mount", "type=volume,target=/b", "busybox", "true")
    names = [mount["Name"] for mount in json.loads(engine.out("inspect", "--format", "{{json .Mounts}}", "owner"))]
    assert set(names) <= set(engine.out("volume", "ls", "-q").split())
    engine.docker("rm", "owner")
    assert set(names) <= set(engine.out("volume", "ls", "-q").split())
    engine.docker("volume", "rm", *names)
    engine.docker("create", "--name", "owner", "-v", "/a", "-v", "kept:/b", "busybox", "true")
    before = set(engine.out("volume", "ls", "-q").split())
    engine.docker("rm", "-v", "owner")
    gone = before - set(engine.out("volume", "ls", "-q").split())
    assert len(gone) == 1
    assert "kept" not in gone


def test_volumes_of_several_containers(engine, host):
    engine.docker("create", "--name", "giver1", "-v", "one:/one", "-v", f"{host}:/host:ro", "busybox", "true")
    engine.docker("create", "--name", "giver2", "-v", "two:/two", "-v", "other:/one", "busybox", "true")
    script = "mount | grep -E ' /(one|two|host) ' | sed -E 's/.* (\\/[a-z]+) type.*\\((r[ow]).*/\\1 \\2/' | sort"
    script = script.replace("sed -E", "busybox sed -E").replace("grep -E", "busybox grep -E")
    both = run(engine, "--volumes-from", "giver1", "--volumes-from", "giver2:ro", script=script).splitlines()
    assert both == ["/host ro", "/one ro", "/two ro"]
    both = run(engine, "--volumes-from", "giver2:ro", "--volumes-from", "giver1", script=script).splitlines()
    assert both == ["/host ro", "/one rw", "/two ro"]
    own = run(engine, "--volumes-from", "giver2:ro", "-v", "mine:/two", script=script).splitlines()
    assert own == ["/one ro", "/two rw"]
    engine.docker("rm", "giver1", "giver2")


def test_a_volume_in_a_volume_whatever_the_order(engine):
    script = "touch /z/b/in /z/out; ls /z/b"
    for options in (("-v", "inner:/z/b", "-v", "outer:/z"), ("-v", "outer:/z", "-v", "inner:/z/b")):
        assert run(engine, *options, script=script) == "in"
    assert run(engine, "-v", "outer:/z", script="ls /z /z/b") == "/z:\nb\nout\n\n/z/b:"


# ---- memory


def test_memory_as_a_file_system(engine):
    lines = run(engine, "--tmpfs", "/a:size=1m,mode=700,exec", script="mount | grep ' /a '; stat -c %a /a").splitlines()
    assert "size=1024k" in lines[0]
    assert "noexec" not in lines[0]
    assert lines[1] == "700"
    options = "type=tmpfs,target=/a,tmpfs-size=1048576,tmpfs-mode=1770"
    lines = run(engine, "--mount", options, script="mount | grep ' /a '; stat -c %a /a").splitlines()
    assert {"nosuid", "nodev", "noexec"} <= set(lines[0].rpartition("(")[2].rstrip(")").split(","))
    assert lines[1] == "1770"
    assert run(engine, "--mount", "type=tmpfs,target=/a,readonly", script="touch /a/x || echo refused") == "refused"


def test_a_read_only_container_writes_where_it_may(engine, host):
    script = "for d in / /etc /v /t /ro; do touch $d/x 2>/dev/null && echo $d; done; true"
    options = ("--read-only", "-v", "rw:/v", "--tmpfs", "/t", "-v", f"{host}:/ro:ro")
    assert run(engine, *options, script=script).split() == ["/v", "/t"]


# ---- what inspect says


def test_inspect_shows_every_kind(engine, host):
    mounts = shown(
        engine,
        "-v", f"{host}:/a:ro", "-v", "nv:/b", "-v", "/c", "--mount", "type=tmpfs,target=/d", "--tmpfs", "/e",
        "--mount", f"type=bind,source={host}/sub,target=/f", "--mount", "type=volume,source=nv2,target=/g,readonly",
    )  # fmt: skip
    source = str(Path(engine.data_root) / "volumes/nv/_data")
    assert mounts[0] == {
        "Type": "bind", "Source": str(host), "Destination": "/a", "Mode": "ro", "RW": False, "Propagation": "rprivate",
    }  # fmt: skip
    assert mounts[1] == {
        "Type": "volume", "Name": "nv", "Source": source, "Destination": "/b", "Driver": "local", "Mode": "z",
        "RW": True, "Propagation": "",
    }  # fmt: skip
    assert [(each["Type"], each["Destination"], each["Mode"], each["RW"]) for each in mounts[2:]] == [
        ("volume", "/c", "", True),
        ("tmpfs", "/d", "", True),
        ("bind", "/f", "", True),
        ("volume", "/g", "z", False),
    ]


def test_mounts_survive_the_daemon(engine, host):
    engine.docker("run", "-d", "--name", "stays", "-v", "stay:/v", "-v", f"{host}:/a:ro", "busybox", "sleep", "1000")
    before = engine.inspect("stays")["Mounts"]
    engine.restart()
    assert engine.inspect("stays")["Mounts"] == before
    assert engine.out("exec", "stays", "sh", "-c", "echo x >/v/x; cat /v/x /a/file") == "x\nfrom the host"
    engine.docker("restart", "-t", "0", "stays")
    wait_until(lambda: engine.out("exec", "stays", "cat", "/v/x") == "x", "the volume is there again")
    engine.docker("rm", "-f", "stays")
