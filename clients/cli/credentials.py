"""What a registry is told of who asks: the docker CLI's stored logins, its helpers included.

Format: https://docs.docker.com/reference/cli/docker/login/#credential-stores.
"""

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from clients.cli.settings import Flags, SettingsError, configuration_directory

OFFICIAL = "https://index.docker.io/v1/"
_HELPER_TIMEOUT_S = 30.0


class Login(msgspec.Struct, frozen=True, kw_only=True, rename="lower"):
    """A registry's credentials as X-Registry-Auth carries them."""

    username: str = ""
    password: str = ""
    identitytoken: str = ""
    serveraddress: str = ""


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    auth: str = ""
    identitytoken: str = ""


class _File(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    auths: dict[str, _Stored] = {}
    creds_store: str = ""
    cred_helpers: dict[str, str] = {}


def registry_headers(name: str) -> dict[str, str]:
    """X-Registry-Auth for the registry of an image's name; none without a login. Raises SettingsError."""
    login = find_login(registry_of(name))
    return {"X-Registry-Auth": encoded(login)} if login is not None else {}


def encoded(login: Login) -> str:
    """URL-safe base64 of its JSON."""
    return base64.urlsafe_b64encode(msgspec.json.encode(login)).decode()


def registry_of(name: str) -> str:
    """`localhost:5000` of `localhost:5000/team/app`; the official one without a host."""
    first, slash, _ = name.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host and first not in ("docker.io", "index.docker.io") else OFFICIAL


def find_login(registry: str) -> Login | None:
    """From config.json or the helper that it names. Raises SettingsError."""
    stored = _read()
    helper = stored.cred_helpers.get(registry, "") or stored.creds_store
    if helper:
        return _of_helper(helper, registry)
    found = stored.auths.get(registry) or stored.auths.get(f"https://{registry}")
    if found is None:
        return None
    name, _, password = base64.b64decode(found.auth).decode().partition(":") if found.auth else ("", "", "")
    return Login(username=name, password=password, identitytoken=found.identitytoken, serveraddress=registry)


def store_login(login: Login) -> str:
    """Keep it, where the docker CLI keeps it; returns a warning, or "". Raises SettingsError."""
    helper = _read().cred_helpers.get(login.serveraddress, "") or _read().creds_store
    if helper:
        secret = login.identitytoken or login.password
        name = "<token>" if login.identitytoken else login.username
        document = {"ServerURL": login.serveraddress, "Username": name, "Secret": secret}
        _ask_helper(helper, "store", msgspec.json.encode(document))
        return ""
    entry = {"auth": base64.b64encode(f"{login.username}:{login.password}".encode()).decode()}
    if login.identitytoken:
        entry = {"auth": base64.b64encode(f"{login.username}:".encode()).decode(), "identitytoken": login.identitytoken}
    _change(login.serveraddress, entry)
    return f"WARNING! Your credentials are stored unencrypted in '{_path()}'."


def forget_login(registry: str) -> bool:
    """Whether there was one. Raises SettingsError."""
    helper = _read().cred_helpers.get(registry, "") or _read().creds_store
    if helper:
        _ask_helper(helper, "erase", registry.encode())
        return True
    was_there = registry in _read().auths
    _change(registry, None)
    return was_there


def _path() -> Path:
    return configuration_directory(Flags(), os.environ) / "config.json"


def _read() -> _File:
    try:
        return msgspec.json.decode(_path().read_bytes(), type=_File)
    except FileNotFoundError:
        return _File()
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"{_path()} can't be read: {error}") from error


def _change(registry: str, entry: dict[str, str] | None) -> None:
    path = _path()
    try:
        content: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        content = {}
    auths = content.setdefault("auths", {})
    auths.pop(registry, None)
    if entry is not None:
        auths[registry] = entry
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staged = path.with_name(".config.json.new")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    staged.replace(path)


def _of_helper(helper: str, registry: str) -> Login | None:
    answer = _ask_helper(helper, "get", registry.encode(), absent_is_fine=True)
    if not answer:
        return None
    found = msgspec.json.decode(answer, type=dict[str, str])
    if found.get("Username") == "<token>":
        return Login(identitytoken=found.get("Secret", ""), serveraddress=registry)
    return Login(username=found.get("Username", ""), password=found.get("Secret", ""), serveraddress=registry)


def _ask_helper(helper: str, verb: str, text: bytes, *, absent_is_fine: bool = False) -> bytes:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=text, capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(
            f"the credential helper {program}, which {_path()} names, can't be used: {error}"
        ) from error
    if done.returncode != 0:
        if absent_is_fine:
            return b""
        raise SettingsError(f"{program} {verb}: {done.stdout.decode(errors='replace').strip()}")
    return done.stdout
