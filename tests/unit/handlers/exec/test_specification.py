"""From configuration to specification: what every field becomes, without a container."""

import json
from typing import Any

import msgspec
import pytest

from events.errors import InvalidParameter, SystemFailure
from events.messages.container import ContainerConfig, ContainerSecrets, EndpointConfig, HostConfig
from events.messages.exec import ExecConfig, ExecSecrets, ResolvedMount
from handlers.containers.configuration import DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from handlers.exec.oci import Namespace
from handlers.exec.specification import (
    Built,
    Request,
    Settings,
    build,
    check,
    exec_process,
)
from tests.fakes.processes import GROUP, PASSWD, a_container, some_facts

SETTINGS = Settings(cgroup_parent="/shiplog", init_path="/usr/bin/tini-static")
SLEEP = ContainerSecrets(cmd=("sleep", "9"))


def request(config=None, host=None, secrets=SLEEP, **fields) -> Request:
    container = a_container(config, host)
    return Request(
        container=container,
        secrets=secrets,
        rootfs="/r",
        passwd=PASSWD,
        group=GROUP,
        **({"namespace_path": "/n", "mounts": ()} | fields),
    )


def made(config=None, host=None, *, facts=None, settings=SETTINGS, **fields) -> Built:
    return build(request(config, host, **fields), facts or some_facts(), settings)


def document(*arguments, **fields) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(made(*arguments, **fields).specification))
    return found


def test_what_a_plain_container_gets():
    found = document(ContainerConfig(hostname="box"))
    assert (found["ociVersion"], found["hostname"], found["root"]) == ("1.0.2", "box", {"path": "/r"})
    process = found["process"]
    assert (process["args"], process["cwd"], process["user"]) == (
        ["sleep", "9"],
        "/",
        {"uid": 0, "gid": 0, "additionalGids": [0]},
    )
    assert process["env"][1:] == ["HOSTNAME=box", "HOME=/root"]
    assert "terminal" not in process
    assert "noNewPrivileges" not in process
    linux = found["linux"]
    assert linux["maskedPaths"] == list(DEFAULT_MASKED_PATHS)
    assert linux["readonlyPaths"] == list(DEFAULT_READONLY_PATHS)
    assert linux["namespaces"] == [
        {"type": "mount"},
        {"type": "network", "path": "/n"},
        {"type": "uts"},
        {"type": "pid"},
        {"type": "ipc"},
        {"type": "cgroup"},
    ]
    assert linux["sysctl"] == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    assert [mount["destination"] for mount in found["mounts"]] == [
        *("/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"),
    ]


def test_entrypoint_and_command_are_one():
    secrets = ContainerSecrets(entrypoint=("/entry", "-x"), cmd=("a", "b"))
    assert document(secrets=secrets)["process"]["args"] == ["/entry", "-x", "a", "b"]
    with pytest.raises(InvalidParameter, match="no command specified"):
        made(secrets=ContainerSecrets())


def test_a_container_without_a_name_of_its_own_is_called_by_its_id():
    found = made()
    assert len(found.specification.hostname) == 12
    assert document(host=HostConfig(uts_mode="host")).get("hostname") is None


def test_where_the_control_group_is():
    container = a_container()
    plain = build(Request(container=container, secrets=SLEEP, rootfs="/r", namespace_path="", mounts=()),
                  some_facts(), SETTINGS)  # fmt: skip
    assert plain.specification.linux.cgroups_path == f"/shiplog/{container.id}"
    parent = HostConfig(cgroup_parent="tenants/a")
    assert made(host=parent).specification.linux.cgroups_path.startswith("/tenants/a/")
    systemd = Settings(cgroup_parent="", systemd_cgroup=True)
    assert made(settings=systemd).specification.linux.cgroups_path.startswith("system.slice:shiplog:")


def test_the_hosts_network_brings_no_sysctls():
    found = document(namespace_path="")
    assert "sysctl" not in found["linux"]
    joined = document(host=HostConfig(network_mode="container:x"))
    assert "sysctl" not in joined["linux"]


@pytest.mark.parametrize(
    ("host", "version", "own"),
    [
        (HostConfig(), 1, False),
        (HostConfig(), 2, True),
        (HostConfig(privileged=True), 2, False),
        (HostConfig(cgroupns_mode="private"), 1, True),
        (HostConfig(cgroupns_mode="host"), 2, False),
    ],
)
def test_the_cgroup_namespace_is_private_by_default_with_version_2(host, version, own):
    found = document(host=host, facts=some_facts(cgroup_version=version))
    assert ({"type": "cgroup"} in found["linux"]["namespaces"]) is own


def test_a_configuration_that_was_not_filled_in_is_no_reason_to_mask_nothing():
    bare = request()
    container = msgspec.structs.replace(bare.container, host=HostConfig())
    with pytest.raises(SystemFailure, match="doesn't say which paths"):
        build(msgspec.structs.replace(bare, container=container), some_facts(), SETTINGS)


def test_privileged_takes_masks_filter_and_read_only_mounts_away():
    built = made(host=HostConfig(privileged=True))
    linux = built.specification.linux
    assert (linux.seccomp, linux.masked_paths, linux.readonly_paths) == (None, (), ())
    options = {mount.destination: mount.options for mount in built.specification.mounts}
    assert "rw" in options["/sys"]
    assert "rw" in options["/sys/fs/cgroup"]
    assert linux.resources.devices[0].allow
    assert "capabilities that the engine itself lacks" in built.warnings[0]


def test_an_init_goes_first_where_there_is_a_pid_namespace():
    found = document(host=HostConfig(init=True))
    assert found["process"]["args"] == ["/sbin/docker-init", "--", "sleep", "9"]
    assert found["mounts"][-1]["source"] == "/usr/bin/tini-static"
    shared = document(host=HostConfig(init=True, pid_mode="host"))
    assert shared["process"]["args"] == ["sleep", "9"]
    by_default = Settings(cgroup_parent="/x", init=True, init_path="/i")
    assert document(settings=by_default)["process"]["args"][0] == "/sbin/docker-init"
    assert document(host=HostConfig(init=False), settings=by_default)["process"]["args"][0] == "sleep"
    with pytest.raises(InvalidParameter, match="tini"):
        made(host=HostConfig(init=True), settings=Settings(cgroup_parent="/x"))


def test_mounts_of_the_client_replace_and_follow_the_defaults():
    mounts = (
        ResolvedMount(type="bind", source="/b", destination="/a/b", writable=False),
        ResolvedMount(type="bind", source="/a", destination="/a", propagation="rslave", non_recursive=True),
        ResolvedMount(type="tmpfs", destination="/dev/shm", options="size=1m"),
        ResolvedMount(type="tmpfs", destination="/t", writable=False),
    )
    found = made(mounts=mounts).specification
    assert [mount.destination for mount in found.mounts][-4:] == ["/a", "/t", "/a/b", "/dev/shm"]
    options = {mount.destination: mount.options for mount in found.mounts}
    assert options["/a"] == ("bind", "rslave", "rw")
    assert options["/a/b"] == ("rbind", "rprivate", "ro", "rro")
    assert options["/dev/shm"] == ("size=1m",)
    assert options["/t"][-1] == "ro"
    assert found.linux.rootfs_propagation == "rslave"
    old = made(mounts=mounts, facts=some_facts(kernel=(5, 11))).specification
    assert {mount.destination: mount.options for mount in old.mounts}["/a/b"] == ("rbind", "rprivate", "ro")


def test_a_mount_on_dev_stands_for_everything_below_it():
    mounts = (ResolvedMount(type="bind", source="/dev", destination="/dev"),)
    places = [mount.destination for mount in made(mounts=mounts).specification.mounts]
    assert [place for place in places if place.startswith("/dev")] == ["/dev"]


def test_shared_mounts_make_a_shared_root():
    mounts = (ResolvedMount(type="bind", source="/a", destination="/a", propagation="rshared"),)
    assert made(mounts=mounts).specification.linux.rootfs_propagation == "shared"


def test_how_dev_shm_is_shared():
    def shm(mode, **fields) -> dict[str, str]:
        found = made(host=HostConfig(ipc_mode=mode, shm_size=5), **fields).specification
        return {mount.source: ",".join(mount.options) for mount in found.mounts if mount.destination == "/dev/shm"}

    assert shm("private") == {"shm": "nosuid,noexec,nodev,mode=1777,size=5"}
    assert shm("none") == {}
    assert list(shm("host")) == ["/dev/shm"]
    assert list(shm("container:x", pids={"x": 7}, shared_memory={"x": "/run/shm-of-x"})) == ["/run/shm-of-x"]


def test_a_terminal_has_a_size_and_a_kind():
    config, host = ContainerConfig(tty=True), HostConfig(console_size=(24, 80))
    process = document(config, host)["process"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert "TERM=xterm" in process["env"]
    assert "consoleSize" not in document(host=host)["process"]


def test_options_of_security():
    host = HostConfig(security_opt=("no-new-privileges:true", "seccomp=unconfined", "apparmor=mine", "label=disable"))
    built = made(host=host, facts=some_facts(apparmor=True))
    assert built.specification.process.no_new_privileges
    assert built.specification.process.apparmor_profile == "mine"
    assert built.specification.linux.seccomp is None
    assert built.warnings == ()


def test_an_exec_is_under_the_profile_that_its_container_was_started_under():
    given = request()
    given = msgspec.structs.replace(
        given, container=msgspec.structs.replace(given.container, apparmor_profile="unconfined")
    )
    settings = msgspec.structs.replace(SETTINGS, apparmor_profile="ours")
    process = exec_process(given, ExecConfig(), ExecSecrets(cmd=("ls",)), some_facts(apparmor=True), settings)
    assert process.apparmor_profile == "unconfined"
    assert build(given, some_facts(apparmor=True), settings).specification.process.apparmor_profile == "ours"


def test_an_exec_has_the_containers_rights_unless_it_says_otherwise():
    given = request(
        ContainerConfig(user="ada", working_dir="/w", hostname="box"),
        HostConfig(security_opt=("no-new-privileges",), cap_add=("NET_ADMIN",)),
        ContainerSecrets(cmd=("x",), env=("A=1", "B=2")),
    )
    plain = exec_process(given, ExecConfig(), ExecSecrets(cmd=("ls",)), some_facts(), SETTINGS)
    assert (plain.args, plain.cwd, plain.user.uid, plain.no_new_privileges) == (("ls",), "/w", 1000, True)
    assert plain.env[1:] == ("HOSTNAME=box", "A=1", "B=2", "HOME=/home/ada")
    assert plain.capabilities is not None
    assert (plain.capabilities.effective, set(plain.capabilities.bounding)) == (
        (),
        {"CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"},
    )
    config = ExecConfig(user="0:7", privileged=True, tty=True, working_dir="/v", console_size=(3, 4))
    root = exec_process(given, config, ExecSecrets(cmd=("ls",), env=("B=3", "TERM=dumb")), some_facts(), SETTINGS)
    assert (root.user.uid, root.user.gid, root.cwd, root.terminal) == (0, 7, "/v", True)
    assert root.env[1:] == ("HOSTNAME=box", "TERM=dumb", "A=1", "B=3", "HOME=/root")
    assert root.capabilities is not None
    assert root.capabilities.effective == some_facts().bounding_capabilities
    assert root.console_size is not None
    assert (root.console_size.height, root.console_size.width) == (3, 4)


def test_a_check_warns_as_the_start_would():
    host = HostConfig(cap_add=("SYS_TIME",), security_opt=("label=type:x", "apparmor=mine"), memory_swappiness=5)
    warnings = check(ContainerConfig(), host, some_facts(), SETTINGS)
    assert warnings == made(host=host).warnings
    assert len(warnings) == 4


def test_a_privileged_container_has_no_filter_but_its_own():
    plain = HostConfig(privileged=True)
    assert "seccomp" not in document(host=plain)["linux"]
    own = msgspec.structs.replace(plain, security_opt=("seccomp=builtin",))
    assert document(host=own)["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"


def test_new_privileges_are_as_the_daemon_says_unless_the_container_does():
    strict = msgspec.structs.replace(SETTINGS, no_new_privileges=True)
    assert document(settings=strict)["process"]["noNewPrivileges"] is True
    own = HostConfig(security_opt=("no-new-privileges=false",))
    assert "noNewPrivileges" not in document(host=own, settings=strict)["process"]


def test_settings_of_an_interface_go_by_its_name():
    options = {
        "com.docker.network.endpoint.ifname": "wire",
        "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=0",
    }
    container = a_container(endpoints={"bridge": EndpointConfig(driver_opts=options)})
    asked = msgspec.structs.replace(request(), container=container)
    sysctl = build(asked, some_facts(), SETTINGS).specification.linux.sysctl
    assert sysctl["net.ipv4.conf.wire.forwarding"] == "0"


def test_linked_variables_come_before_the_containers_own():
    asked = msgspec.structs.replace(request(), linked=("DB_NAME=/web/db", "A=linked"))
    env = build(asked, some_facts(), SETTINGS).specification.process.env
    assert "DB_NAME=/web/db" in env


@pytest.mark.parametrize("mode", ["shareable", "private"])
def test_a_cgroup_namespace_is_made_or_joined(mode):
    own = HostConfig(cgroupns_mode=mode)
    assert {"type": "cgroup"} in document(host=own)["linux"]["namespaces"]
    asked = request(host=HostConfig(cgroupns_mode="container:x"))
    joined = build(msgspec.structs.replace(asked, pids={"x": 7}), some_facts(cgroup_version=1), SETTINGS)
    assert Namespace(type="cgroup", path="/proc/7/ns/cgroup") in joined.specification.linux.namespaces
