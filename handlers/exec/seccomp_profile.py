"""Seccomp profiles that a client brings (`--security-opt seccomp=`), in Docker's JSON format. Pure.

Format: https://docs.docker.com/engine/security/seccomp/. Its conditions on architecture, capabilities and kernel are
decided here; what is left is what the runtime understands.
"""

import re
from collections.abc import Iterable

import msgspec

from events.errors import InvalidParameter
from handlers.exec.host_facts import HostFacts
from handlers.exec.oci import Seccomp, SeccompArgument, SeccompRule
from handlers.exec.seccomp import ARCHITECTURES, default_profile
from handlers.exec.security import BUILTIN, UNCONFINED

_VERSION = re.compile(r"(\d+)\.(\d+)")
_MACHINE_NAMES = {  # uname(2) -> the names profiles use
    "x86_64": frozenset({"amd64"}),
    "aarch64": frozenset({"arm64"}),
    "ppc64le": frozenset({"ppc64le"}),
    "s390x": frozenset({"s390x"}),
    "riscv64": frozenset({"riscv64"}),
    "loongarch64": frozenset({"loong64"}),
}


class _Conditions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    arches: list[str] | None = None
    caps: list[str] | None = None
    min_kernel: str | None = None


class _ArchitectureFamily(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    architecture: str
    sub_architectures: list[str] | None = None


class _Argument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    action: str
    names: list[str] | None = None
    name: str = ""
    errno_ret: int | None = None
    args: list[_Argument] | None = None
    includes: _Conditions | None = None
    excludes: _Conditions | None = None


class _Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[_ArchitectureFamily] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[_Rule] | None = None


def choose(text: str, facts: HostFacts, capabilities: tuple[str, ...]) -> tuple[Seccomp | None, tuple[str, ...]]:
    """The filter for "" and "builtin" (the engine's own), "unconfined" or a profile's JSON, and warnings.

    Raises InvalidParameter for a profile that can't be decoded.
    """
    text = "" if text == BUILTIN else text
    if text == UNCONFINED:
        return None, ()
    if not facts.seccomp:
        if text:
            raise InvalidParameter("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
        return None, ("seccomp is not enabled in your kernel: containers run without a filter",)
    if not text:
        return default_profile(facts.machine, capabilities), ()
    return convert(text, facts, capabilities), ()


def convert(text: str, facts: HostFacts, capabilities: tuple[str, ...]) -> Seccomp:
    """Decide a profile's conditions. Raises InvalidParameter."""
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidParameter(f"decoding seccomp profile failed: {error}") from error
    if profile.architectures and profile.arch_map:
        raise InvalidParameter("use either 'architectures' or 'archMap', not both")
    return Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=tuple(profile.architectures or _architectures(profile.arch_map or [], facts)),
        flags=tuple(profile.flags or ()),
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=tuple(_rule(rule) for rule in profile.syscalls or () if _applies(rule, facts, capabilities)),
    )


def _architectures(families: Iterable[_ArchitectureFamily], facts: HostFacts) -> list[str]:
    native = ARCHITECTURES.get(facts.machine, ("",))[0]
    for family in families:
        if family.architecture == native:
            return [native, *(family.sub_architectures or ())]
    return []


def _applies(rule: _Rule, facts: HostFacts, capabilities: tuple[str, ...]) -> bool:
    machine = _MACHINE_NAMES.get(facts.machine, frozenset())
    excludes, includes = rule.excludes or _Conditions(), rule.includes or _Conditions()
    if machine & set(excludes.arches or ()) or set(excludes.caps or ()) & set(capabilities):
        return False
    if excludes.min_kernel and facts.kernel >= _kernel(excludes.min_kernel):
        return False
    if includes.arches and not machine & set(includes.arches):
        return False
    if includes.caps and not set(includes.caps) <= set(capabilities):
        return False
    return not includes.min_kernel or facts.kernel >= _kernel(includes.min_kernel)


def _kernel(text: str) -> tuple[int, int]:
    match = _VERSION.match(text)
    if match is None:
        raise InvalidParameter(f"decoding seccomp profile failed: invalid kernel version {text}")
    return int(match[1]), int(match[2])


def _rule(rule: _Rule) -> SeccompRule:
    names = tuple(rule.names or ()) or (rule.name,)
    if not names[0]:
        raise InvalidParameter("decoding seccomp profile failed: a rule without system calls")
    arguments = tuple(
        SeccompArgument(index=given.index, value=given.value, value_two=given.value_two, op=given.op)
        for given in rule.args or ()
    )
    return SeccompRule(names=names, action=rule.action, errno_ret=rule.errno_ret, args=arguments)
