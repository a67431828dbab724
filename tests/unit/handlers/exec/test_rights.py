"""Capabilities, users, seccomp and security options: the pure decisions."""

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidParameter, SystemFailure
from events.messages.container import HostConfig
from handlers.exec import capabilities, seccomp, seccomp_profile, security, users
from handlers.exec.oci import SeccompRule
from tests.fakes.processes import GROUP, PASSWD, some_facts

EVERY = capabilities.ALL


def chosen(*, available=EVERY, **fields) -> set[str]:
    return set(capabilities.choose(HostConfig(**fields), available)[0])


def test_capabilities_by_name_and_by_all():
    assert chosen() == capabilities.DEFAULT
    assert chosen(cap_drop=("all",)) == set()
    assert chosen(cap_drop=("ALL",), cap_add=("Kill",)) == {"CAP_KILL"}
    assert chosen(cap_add=("ALL",)) == set(EVERY)
    assert chosen(cap_add=("ALL",), cap_drop=("CAP_KILL",)) == set(EVERY) - {"CAP_KILL"}
    assert chosen(cap_add=("SYS_ADMIN",), cap_drop=("MKNOD",)) == capabilities.DEFAULT - {"CAP_MKNOD"} | {
        "CAP_SYS_ADMIN"
    }
    assert chosen(privileged=True) == set(EVERY)


def test_what_the_engine_lacks_is_left_out_with_a_word():
    few = ("CAP_CHOWN",)
    held, warnings = capabilities.choose(HostConfig(cap_add=("SYS_ADMIN",)), few)
    assert held == few
    assert warnings == ("capabilities that the engine itself lacks were left out: CAP_SYS_ADMIN",)
    assert capabilities.choose(HostConfig(), few)[1] == ()


@pytest.mark.parametrize(
    ("host", "word"), [(HostConfig(cap_add=("NOSUCH",)), "CapAdd"), (HostConfig(cap_drop=("NOSUCH",)), "CapDrop")]
)
def test_an_unknown_capability_is_refused_by_name(host, word):
    with pytest.raises(InvalidParameter, match=f'invalid {word}: unknown capability: "CAP_NOSUCH"'):
        capabilities.choose(host, EVERY)


@given(st.sets(st.sampled_from(EVERY)))
def test_a_mask_is_read_bit_by_bit(names):
    mask = sum(1 << EVERY.index(name) for name in names)
    assert set(capabilities.from_mask(mask)) == names


@pytest.mark.parametrize(
    ("text", "uid", "gid", "gids", "home"),
    [
        ("", 0, 0, (0,), "/root"),
        ("root", 0, 0, (0,), "/root"),
        ("ada", 1000, 1001, (1001, 2000), "/home/ada"),
        ("1000", 1000, 1001, (1001, 2000), "/home/ada"),
        ("ada:mathematics", 1000, 2000, (2000,), "/home/ada"),
        ("ada:5", 1000, 5, (5,), "/home/ada"),
        ("4711", 4711, 0, (0,), "/"),
        ("4711:4712", 4711, 4712, (4712,), "/"),
    ],
)
def test_a_user_is_a_name_or_a_number(text, uid, gid, gids, home):
    found = users.resolve(text, (), PASSWD, GROUP)
    assert (found.uid, found.gid, found.additional_gids, found.home) == (uid, gid, gids, home)


def test_groups_are_added_by_name_and_number():
    found = users.resolve("ada", ("mathematics", "7"), PASSWD, GROUP)
    assert found.additional_gids == (1001, 2000, 7)


@pytest.mark.parametrize(
    ("text", "groups", "words"),
    [
        ("nosuch", (), "unable to find user nosuch: no matching entries in passwd file"),
        ("ada:nosuch", (), "unable to find group nosuch: no matching entries in group file"),
        ("ada", ("nosuch",), "Unable to find group nosuch"),
        ("2147483648", (), "uids and gids must be in range 0-2147483647"),
    ],
)
def test_who_is_not_there_is_named(text, groups, words):
    with pytest.raises(SystemFailure, match=words):
        users.resolve(text, groups, PASSWD, GROUP)


@given(st.text(), st.text())
def test_nonsense_in_an_images_files_never_fails(passwd, group):
    found = users.resolve("0:0", ("5",), passwd, group)
    assert (found.uid, found.gid) == (0, 0)


def test_options_of_security_are_understood_in_both_spellings():
    found = security.parse(("no-new-privileges", "seccomp:unconfined", "apparmor=x", "label=level:s0", "label=type:t"))
    assert found == security.SecurityOptions(
        no_new_privileges=True, seccomp="unconfined", apparmor="x", labels=("level:s0", "type:t")
    )
    default = security.parse(("no-new-privileges=false", "seccomp=builtin", "systempaths=unconfined"))
    assert default == security.SecurityOptions(no_new_privileges=False, seccomp="builtin")


@pytest.mark.parametrize("text", ["foo=bar", "seccomp", "label=", "no-new-privileges=perhaps", "systempaths=x", ""])
def test_other_options_are_refused_as_docker_does(text):
    with pytest.raises(SystemFailure, match="invalid --security-opt 2: "):
        security.parse((text,))


def test_apparmor_is_applied_where_the_kernel_has_it():
    def profile(host, *, apparmor, default="ours"):
        options = security.parse(host.security_opt)
        return security.apparmor_profile(host, options, some_facts(apparmor=apparmor), default)

    assert profile(HostConfig(), apparmor=True) == ("ours", ())
    assert profile(HostConfig(privileged=True), apparmor=True) == ("unconfined", ())
    assert profile(HostConfig(security_opt=("apparmor=unconfined",)), apparmor=True) == ("unconfined", ())
    assert profile(HostConfig(security_opt=("apparmor=own",), privileged=True), apparmor=True) == ("own", ())
    assert profile(HostConfig(), apparmor=False) == ("", ())
    missing, warnings = profile(HostConfig(), apparmor=True, default="")
    assert missing == "unconfined"
    assert "could not be loaded" in warnings[0]
    assert "has no AppArmor" in profile(HostConfig(security_opt=("apparmor=x",)), apparmor=False)[1][0]


def test_selinux_labels_are_not_passed_over_in_silence():
    wanted = security.SecurityOptions(labels=("disable", "type:t"))
    assert "no SELinux" in security.label_warnings(wanted, some_facts())[0]
    assert "not supported" in security.label_warnings(wanted, some_facts(selinux=True))[0]
    assert security.label_warnings(security.SecurityOptions(labels=("disable",)), some_facts()) == ()


def rules(profile) -> dict[str, list[SeccompRule]]:
    found: dict[str, list[SeccompRule]] = {}
    for rule in profile.syscalls:
        for name in rule.names:
            found.setdefault(name, []).append(rule)
    return found


def test_the_default_filter_opens_with_capabilities():
    bare, full = (rules(seccomp.default_profile("x86_64", held)) for held in (capabilities.DEFAULT, EVERY))
    for guarded in ("mount", "bpf", "init_module", "reboot", "open_by_handle_at", "setns", "perf_event_open"):
        assert guarded not in bare
        assert full[guarded][0].action == "SCMP_ACT_ALLOW"
    for never in ("io_uring_setup", "keyctl", "kexec_load", "userfaultfd", "swapon", "add_key"):
        assert never not in bare
        assert never not in full
    assert "chroot" in bare


def test_the_default_filter_keeps_namespaces_and_foreign_sockets_out():
    bare = rules(seccomp.default_profile("x86_64", capabilities.DEFAULT))
    (clone,) = bare["clone"]
    assert (clone.args[0].op, clone.args[0].value) == ("SCMP_CMP_MASKED_EQ", 0x7E020000)
    assert bare["clone3"][0].errno_ret == errno.ENOSYS
    allowed = [family for family in range(46) if any(holds(rule.args[0], family) for rule in bare["socket"])]
    assert set(range(46)) - set(allowed) == {38, 40}
    full = rules(seccomp.default_profile("x86_64", EVERY))
    assert full["clone"][0].args == full["clone3"][0].args == ()


def holds(argument, value: int) -> bool:
    compare = {"SCMP_CMP_LT": int.__lt__, "SCMP_CMP_EQ": int.__eq__, "SCMP_CMP_GT": int.__gt__}
    return compare[argument.op](value, argument.value)


def test_no_system_call_stands_in_two_lists():
    names = " ".join(seccomp.ALWAYS).split()
    assert len(names) == len(set(names))
    guarded = {name for text in seccomp.WITH_CAPABILITY.values() for name in text.split()}
    assert not guarded & set(names)


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
        {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
        {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.1"}},
        {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
        {"name": "g", "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 1, "value": 2, "op": "X"}]},
    ],
}


def test_a_profile_is_decided_for_this_host_and_container():
    found = seccomp_profile.convert(json.dumps(PROFILE), some_facts(), ("CAP_KILL",))
    assert found.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert [rule.names for rule in found.syscalls] == [("a",), ("e",), ("g",)]
    assert (found.syscalls[-1].errno_ret, found.syscalls[-1].args[0].value) == (5, 2)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"defaultAction": 1}',
        '{"defaultAction": "x", "architectures": ["a"], "archMap": [{"architecture": "a"}]}',
        '{"defaultAction": "x", "syscalls": [{"action": "y"}]}',
        '{"defaultAction": "x", "syscalls": [{"action": "y", "name": "z", "includes": {"minKernel": "new"}}]}',
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(text):
    with pytest.raises(InvalidParameter):
        seccomp_profile.convert(text, some_facts(), ())


def test_a_kernel_without_seccomp():
    without = some_facts(seccomp=False)
    assert seccomp_profile.choose("unconfined", without, ()) == (None, ())
    found, warnings = seccomp_profile.choose("", without, ())
    assert found is None
    assert "not enabled" in warnings[0]
    with pytest.raises(InvalidParameter, match="cannot run a custom seccomp profile"):
        seccomp_profile.choose("{}", without, ())
