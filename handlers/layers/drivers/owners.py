"""Who a container's user is, by the container's own files; `docker cp -a` gives everything to that one.

Runs in the helper process, within the container's root.
"""

import os
from collections.abc import Iterator

from events.errors import InvalidParameter

_LIMIT_BYTES = 4 * 1024 * 1024
_PASSWD, _GROUP = "/etc/passwd", "/etc/group"


class UnknownOwner(InvalidParameter):
    """A user or a group that the container doesn't know."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind_of_owner, self.name = kind, name
        files = {"user": "passwd", "group": "group"}
        super().__init__(f"unable to find {kind} {name}: no matching entries in {files[kind]} file")


def find_owner(user: str) -> tuple[int, int]:
    """Numbers for `user`, `uid`, or either with `:group` or `:gid`. Raises UnknownOwner for who isn't there."""
    name, _, group = user.partition(":")
    uid, gid = _user(name)
    return uid, _group(group) if group else gid


def _user(name: str) -> tuple[int, int]:
    for fields in _lines(_PASSWD):
        if len(fields) > 3 and name in (fields[0], fields[2]) and fields[2].isdecimal() and fields[3].isdecimal():
            return int(fields[2]), int(fields[3])
    if name.isdecimal():
        return int(name), 0
    raise UnknownOwner("user", name)


def _group(name: str) -> int:
    for fields in _lines(_GROUP):
        if len(fields) > 2 and name in (fields[0], fields[2]) and fields[2].isdecimal():
            return int(fields[2])
    if name.isdecimal():
        return int(name)
    raise UnknownOwner("group", name)


def _lines(path: str) -> Iterator[list[str]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        for line in file.read(_LIMIT_BYTES).decode(errors="replace").splitlines():
            yield line.split(":")
