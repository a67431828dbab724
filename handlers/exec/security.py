"""What `--security-opt` asks for; without it its strings would be taken apart in five places. Pure."""

import re

import msgspec

from events.errors import SystemFailure
from events.messages.container import HostConfig
from handlers.exec.host_facts import HostFacts

_OPTION = re.compile(r"([^=:]*)(?:[=:](.*))?", re.DOTALL)
UNCONFINED, BUILTIN = "unconfined", "builtin"
_TRUTH = {"": True, "true": True, "false": False}


class SecurityOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parsed options; "" is the default."""

    no_new_privileges: bool | None = None  # None: as the daemon is told
    seccomp: str = ""  # "unconfined", "builtin" or the JSON text of a profile
    apparmor: str = ""  # "unconfined" or the name of a loaded profile
    labels: tuple[str, ...] = ()
    writable_cgroups: bool = False


def parse(options: tuple[str, ...]) -> SecurityOptions:
    """Raises SystemFailure, as Docker answers, for what can't be understood."""
    found = SecurityOptions()
    for option in options:
        found = _take(found, option)
    return found


def _take(found: SecurityOptions, option: str) -> SecurityOptions:
    match = _OPTION.fullmatch(option)
    key, value = (match[1], match[2] or "") if match else ("", "")
    replace = msgspec.structs.replace
    match key:
        case "no-new-privileges" if value in _TRUTH:
            return replace(found, no_new_privileges=_TRUTH[value])
        case "seccomp" if value:
            return replace(found, seccomp=value)
        case "apparmor" if value:
            return replace(found, apparmor=value)
        case "label" if value:
            return replace(found, labels=(*found.labels, value))
        case "systempaths" if value == UNCONFINED:
            return found  # the stored configuration then names no masked paths
        case "writable-cgroups" if value in _TRUTH:
            return replace(found, writable_cgroups=_TRUTH[value])
        case _:
            raise SystemFailure(f'invalid --security-opt 2: "{option}"')


def apparmor_profile(
    host: HostConfig, options: SecurityOptions, facts: HostFacts, default: str
) -> tuple[str, tuple[str, ...]]:
    """The AppArmor profile to run under ("" where the kernel has no AppArmor) and warnings.

    `default` is the engine's own, "" when it couldn't be loaded.
    """
    if not facts.apparmor:
        asked = options.apparmor and options.apparmor != UNCONFINED
        return "", (f"this kernel has no AppArmor: profile {options.apparmor} is not applied",) if asked else ()
    if options.apparmor:
        return options.apparmor, ()
    if host.privileged:
        return UNCONFINED, ()
    if not default:
        return UNCONFINED, ("the default AppArmor profile could not be loaded and is not applied",)
    return default, ()


def label_warnings(options: SecurityOptions, facts: HostFacts) -> tuple[str, ...]:
    """SELinux labels are applied by nobody here; `label=disable` is what happens anyway."""
    wanted = [label for label in options.labels if label != "disable"]
    if not wanted:
        return ()
    why = "labels are not supported" if facts.selinux else "this kernel has no SELinux"
    return (f"{why}: --security-opt label={wanted[0]} is not applied",)
