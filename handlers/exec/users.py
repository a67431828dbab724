"""Who a process runs as, from `--user` and the image's own passwd and group files. Pure."""

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from events.errors import SystemFailure

_HIGHEST = 2**31 - 1


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved user."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


class _Account(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    home: str


class _Group(msgspec.Struct, frozen=True):
    name: str
    gid: int
    members: tuple[str, ...]


@lru_cache(maxsize=64)  # health checks ask the same again and again
def resolve(user: str, group_add: tuple[str, ...], passwd: str, group: str) -> Identity:
    """`user` is "", a name or a uid, each with `:group` or `:gid` behind it if wanted.

    passwd(5) and group(5) are texts, empty where the image has no such file. A number needs no entry.
    Raises SystemFailure in Docker's words for a name that isn't there.
    """
    user_part, _, group_part = user.partition(":")
    accounts, groups = list(_accounts(passwd)), list(_groups(group))
    account = _find_account(user_part, accounts)
    gid, gids = _find_gids(account, group_part, groups)
    gids += [_added(name, groups) for name in group_add]
    unique = tuple(dict.fromkeys([gid, *gids]))  # with the own gid first: CVE-2022-36109
    return Identity(uid=account.uid, gid=gid, additional_gids=unique, home=account.home or "/")


def _find_account(text: str, accounts: list[_Account]) -> _Account:
    number = _number(text or "0")
    for account in accounts:
        if account.uid == number or (number is None and account.name == text):
            return account
    if number is None:
        raise SystemFailure(f"unable to find user {text}: no matching entries in passwd file")
    return _Account("", number, 0, "")


def _find_gids(account: _Account, text: str, groups: list[_Group]) -> tuple[int, list[int]]:
    if not text:
        return account.gid, [group.gid for group in groups if account.name and account.name in group.members]
    number = _number(text)
    for group in groups:
        if group.gid == number or (number is None and group.name == text):
            return group.gid, []
    if number is None:
        raise SystemFailure(f"unable to find group {text}: no matching entries in group file")
    return number, []


def _added(text: str, groups: list[_Group]) -> int:
    found = next((group.gid for group in groups if group.name == text), None)
    gid = _number(text) if found is None else found
    if gid is None:
        raise SystemFailure(f"Unable to find group {text}: no matching entries in group file")
    return gid


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    if number > _HIGHEST:
        raise SystemFailure(f"uids and gids must be in range 0-{_HIGHEST}")
    return number


def _accounts(text: str) -> Iterator[_Account]:
    for fields in _rows(text, 4):
        uid, gid = _field(fields[2]), _field(fields[3])
        if uid is not None and gid is not None:
            yield _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else "")


def _groups(text: str) -> Iterator[_Group]:
    for fields in _rows(text, 3):
        gid = _field(fields[2])
        if gid is not None:
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _Group(fields[0], gid, tuple(member for member in members if member))


def _rows(text: str, least: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0] and not fields[0].startswith("#"):
            yield fields


def _field(text: str) -> int | None:
    """A number in a file that anybody may have written: nonsense makes the row void, not the container."""
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _HIGHEST else None
