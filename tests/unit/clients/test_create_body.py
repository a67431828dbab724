"""From a command line to the body that the engine gets; the whole table of flags goes through click once."""

import json

import click
import pytest
from click.testing import CliRunner

from clients.cli.create_body import body_of, duration_ns, environment_of, mount_of, published
from clients.cli.create_options import create_options


def body(*words: str, environment: dict[str, str] | None = None):
    @click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
    @create_options
    def create(**options):
        click.echo(json.dumps(body_of(options, environment or {})))

    result = CliRunner().invoke(create, words)
    if result.exit_code:
        raise click.BadParameter(result.output)
    return json.loads(result.output)


def test_a_bare_image_asks_for_nothing_else():
    assert body("busybox") == {"Image": "busybox", "HostConfig": {"NetworkMode": "default"}}


def test_what_follows_the_image_is_the_containers():
    assert body("-e", "A=1", "busybox", "sh", "-c", "x", "-e", "B")["Cmd"] == ["sh", "-c", "x", "-e", "B"]


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        (["--memory", "512m"], "HostConfig.Memory", 512 << 20),
        (["--memory-swap", "-1"], "HostConfig.MemorySwap", -1),
        (["--cpus", "1.5"], "HostConfig.NanoCpus", 1_500_000_000),
        (["--restart", "on-failure:3"], "HostConfig.RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}),
        (["--ulimit", "nofile=10:20"], "HostConfig.Ulimits", [{"Name": "nofile", "Soft": 10, "Hard": 20}]),
        (["--ulimit", "core=0"], "HostConfig.Ulimits", [{"Name": "core", "Soft": 0, "Hard": 0}]),
        (["--tmpfs", "/run:size=1m"], "HostConfig.Tmpfs", {"/run": "size=1m"}),
        (["--device", "/dev/x:/dev/y:r"], "HostConfig.Devices.0.PathInContainer", "/dev/y"),
        (["--device", "/dev/x:rw"], "HostConfig.Devices.0.CgroupPermissions", "rw"),
        (["--device-read-bps", "/dev/x:1mb"], "HostConfig.BlkioDeviceReadBps", [{"Path": "/dev/x", "Rate": 1 << 20}]),
        (["--log-driver", "local", "--log-opt", "max-size=1m"], "HostConfig.LogConfig.Config", {"max-size": "1m"}),
        (["--add-host", "a=1.2.3.4"], "HostConfig.ExtraHosts", ["a:1.2.3.4"]),
        (["--add-host", "a:::1"], "HostConfig.ExtraHosts", ["a:::1"]),
        (["--network", "container:web"], "HostConfig.NetworkMode", "container:web"),
        (["--network", "name=n1,alias=db", "--ip", "10.1.1.1"], "NetworkingConfig.EndpointsConfig.n1.Aliases", ["db"]),
        (
            ["--network", "n1", "--ip", "10.1.1.1"],
            "NetworkingConfig.EndpointsConfig.n1.IPAMConfig",
            {"IPv4Address": "10.1.1.1"},
        ),
        (["-v", "data:/data:ro", "-v", "/scratch"], "HostConfig.Binds", ["data:/data:ro"]),
        (["-v", "/scratch"], "Volumes", {"/scratch": {}}),
        (["--entrypoint", ""], "Entrypoint", [""]),
        (
            ["--health-cmd", "true", "--health-interval", "1m30s"],
            "Healthcheck",
            {"Interval": 90_000_000_000, "Test": ["CMD-SHELL", "true"]},
        ),
        (["--no-healthcheck"], "Healthcheck", {"Test": ["NONE"]}),
        (["--rm", "--init", "--privileged", "--read-only"], "HostConfig.Init", True),
        (["-h", "host1"], "Hostname", "host1"),
        (["--pids-limit", "-1"], "HostConfig.PidsLimit", -1),
        (["--security-opt", "no-new-privileges"], "HostConfig.SecurityOpt", ["no-new-privileges"]),
        (["--stop-timeout", "0"], "StopTimeout", 0),
    ],
)
def test_flags_become_fields(flags, path, value):
    found = body(*flags, "busybox")
    for key in path.split("."):
        found = found[int(key)] if key.isdecimal() else found[key]
    assert found == value


def test_environment_comes_of_files_this_shell_and_the_command_line(tmp_path):
    file = tmp_path / "env"
    file.write_text("# comment\nA=1\n\n  B\nC=a b\n")
    assert environment_of([str(file)], ["D", "E=5", "F"], {"B": "2", "D": "4"}) == ["A=1", "B=2", "C=a b", "D=4", "E=5"]


@pytest.mark.parametrize(
    ("word", "bindings"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("127.0.0.1:8080:80/udp", {"80/udp": [("127.0.0.1", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [("127.0.0.1", "")]}),
        ("[::1]:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("8000-8001:80-81", {"80/tcp": [("", "8000")], "81/tcp": [("", "8001")]}),
        ("8000-8010:80", {"80/tcp": [("", "8000-8010")]}),
    ],
)
def test_ports_that_are_published(word, bindings):
    exposed, found = published([word], [])
    assert exposed == list(bindings)
    assert {
        port: [(each["HostIp"], each["HostPort"]) for each in of_port] for port, of_port in found.items()
    } == bindings


def test_mounts():
    assert mount_of("type=bind,src=/x,dst=/y,readonly,bind-propagation=rslave") == {
        "Type": "bind",
        "Source": "/x",
        "Target": "/y",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }
    assert mount_of('source=v,target=/y,volume-nocopy,"volume-opt=o=a,b"') == {
        "Type": "volume",
        "Source": "v",
        "Target": "/y",
        "VolumeOptions": {"NoCopy": True, "DriverConfig": {"Options": {"o": "a,b"}}},
    }
    assert mount_of("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770")["TmpfsOptions"] == {
        "SizeBytes": 1 << 20,
        "Mode": 0o1770,
    }


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--memory", "much"], "invalid size"),
        (["--publish", "x"], "--publish"),
        (["--publish", "8000-8001:80-85"], "invalid ranges"),
        (["--mount", "type=bind,nope=1"], "unexpected key"),
        (["--mount", "dst=/x,readonly=perhaps"], "neither true nor false"),
        (["--ulimit", "nofile"], "name=soft"),
        (["--env-file", "/nowhere/env"], "can't be read"),
        (["--security-opt", "seccomp=/nowhere/x.json"], "opening seccomp profile"),
        (["--restart", "on-failure:x"], "--restart"),
        (["--health-interval", "soon"], "duration"),
        (["--expose", "web"], "--expose"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(flags, reason):
    with pytest.raises(click.BadParameter, match=reason):
        body(*flags, "busybox")


def test_durations():
    assert duration_ns("x", "1h2m3s4ms") == 3_723_004_000_000
