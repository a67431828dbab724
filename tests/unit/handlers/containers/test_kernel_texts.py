"""What no process can be given is refused, wherever it hides."""

import pytest

from events.messages.container import ContainerConfig, EndpointConfig, EndpointIpam, HostConfig, Mount, TmpfsOptions
from handlers.containers.kernel_texts import NulByte, TextTooLong, check_arguments, check_no_nul


@pytest.mark.parametrize(
    ("part", "place"),
    [
        (ContainerConfig(user="a\0"), "User"),
        (ContainerConfig(env=("A=1", "B=\0")), "Env"),
        (ContainerConfig(volumes={"/a\0": {}}), "Volumes"),
        (HostConfig(cgroup_parent="\0"), "CgroupParent"),
        (HostConfig(sysctls={"a": "\0"}), "Sysctls.a"),
        (
            HostConfig(mounts=(Mount(tmpfs_options=TmpfsOptions(options=(("\0",),))),)),
            "Mounts.TmpfsOptions.Options",
        ),
        (EndpointConfig(ipam_config=EndpointIpam(ipv4_address="\0")), "IPAMConfig.IPv4Address"),
    ],
)
def test_a_nul_byte_anywhere(part, place):
    with pytest.raises(NulByte) as refused:
        check_no_nul({"Part": part})
    assert str(refused.value) == f"Part.{place}: a NUL byte is not allowed"


def test_what_only_looks_like_one():
    check_no_nul({"Config": ContainerConfig(cmd=("printf", "\\u0000"), labels={"\\0": "\\\\u0000"})})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (ContainerConfig(cmd=("sh", "x" * 131_072)), "an argument or environment variable has 131072 bytes"),
        (ContainerConfig(cmd=("sh", "\u00fc" * 65_536)), "an argument or environment variable has 131072 bytes"),
        (ContainerConfig(env=("A=" + "x" * 131_070,)), "an argument or environment variable has 131072 bytes"),
        (ContainerConfig(cmd=("x" * 4096,)), "the path of the command has 4096 bytes"),
        (ContainerConfig(entrypoint=("x" * 4096,), cmd=("a",)), "the path of the command has 4096 bytes"),
    ],
)
def test_what_is_too_long_for_execve(config, text):
    with pytest.raises(TextTooLong, match=text):
        check_arguments(config)


def test_the_longest_that_fit():
    check_arguments(ContainerConfig(entrypoint=("x" * 4095,), cmd=("x" * 131_071,), env=("A=" + "x" * 131_069,)))
