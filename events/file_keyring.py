"""Keys of sealed values, one file per owner; without it secrets in the log could be neither read nor forgotten.

A key is 32 random bytes in a file that only root may read, outside the log. Overwriting a file destroys what was in it
on file systems that write in place; on others (btrfs, zfs, an SSD's spare blocks) the old blocks are merely free.
"""

import hashlib
import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import anyio
import msgspec
from anyio.to_thread import run_sync
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.errors import SystemFailure
from events.log_directory import DIRECTORY_MODE, create_file, sync_directory
from events.sealed import KeyDestroyed, Sealed

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # NIST SP 800-38D, 8.2.2: random nonces are safe for 2^32 values per key
OPENED_VALUES: Final = 1024
KNOWN_KEYS: Final = 4096

LOGGER = logging.getLogger("shiplog.keyring")

_DESTROYED: Final = bytes(KEY_BYTES)
_DRAFT_SUFFIX: Final = ".new"

Key = TypeVar("Key")


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds. A key of zeros is one whose destruction was interrupted."""

    owner: str
    key: bytes


class FileKeyring:
    """A `Keyring` in a directory. Cached values and keys are bounded, and gone as soon as the key is."""

    def __init__(self, directory: Path) -> None:
        """Make the directory (mode 0700) if need be; a key that a killed process never finished goes. One at a time."""
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.chmod(DIRECTORY_MODE)
        for draft in directory.glob(f"*{_DRAFT_SUFFIX}"):
            draft.unlink()
        self._directory = directory
        self._changing = anyio.Lock()
        self._durable: OrderedDict[str, bytes] = OrderedDict()  # owner -> key known to be on disk
        self._opened: OrderedDict[Sealed, bytes] = OrderedDict()
        self._opening = threading.Lock()  # threads open values too: none may put one back that is being forgotten

    async def seal(self, owner: str, plain: bytes) -> Sealed:
        """Encrypt for an owner; its key is on disk when this returns. Raises SystemFailure."""
        key = self._durable.get(owner)
        if key is None:
            key = await self._made_durable(owner)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed(owner=owner, nonce=nonce, ciphertext=AESGCM(key).encrypt(nonce, plain, owner.encode()))

    async def _made_durable(self, owner: str) -> bytes:
        async with self._changing:
            if owner not in self._durable:
                key = await run_sync(_find_or_create, self._path(owner), owner)
                _remember(self._durable, owner, key, KNOWN_KEYS)
            return self._durable[owner]

    def open(self, sealed: Sealed) -> bytes:
        """Decrypt. Raises KeyDestroyed, also for a value sealed with an earlier key of the same owner."""
        with self._opening:
            plain = self._opened.get(sealed)
            if plain is None:
                plain = self._decrypt(sealed)
                _remember(self._opened, sealed, plain, OPENED_VALUES)
            return plain

    def _decrypt(self, sealed: Sealed) -> bytes:
        key = self._durable.get(sealed.owner) or _read(self._path(sealed.owner))
        if key is None:
            raise KeyDestroyed(f"the key of {sealed.owner} was destroyed")
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, sealed.owner.encode())
        except InvalidTag:
            raise KeyDestroyed(f"the key of {sealed.owner} is not the one that this was sealed with") from None

    async def destroy(self, owner: str) -> None:
        """Forget the owner's key, for good and on disk. An absent key is fine. Raises SystemFailure."""
        with anyio.CancelScope(shield=True):  # half a destruction would leave plain values in the cache
            async with self._changing:
                self._durable.pop(owner, None)
                try:
                    await run_sync(_destroy, self._path(owner), owner)
                finally:
                    self._forget_opened(owner)

    def _forget_opened(self, owner: str) -> None:
        with self._opening:
            for sealed in [sealed for sealed in self._opened if sealed.owner == owner]:
                del self._opened[sealed]

    async def owners(self, *, besides: Collection[str] = ()) -> tuple[str, ...]:
        """Owners that have a key, or one whose destruction was interrupted; files of those named aren't opened."""
        return await run_sync(_owners, self._directory, besides)

    async def export(self) -> dict[str, bytes]:
        """Every key there is, by owner. Raises SystemFailure."""
        async with self._changing:
            return await run_sync(_keys, self._directory)

    def _path(self, owner: str) -> Path:
        return self._directory / _file_name(owner)


def _file_name(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()


def _remember(cache: OrderedDict[Key, bytes], key: Key, value: bytes, limit: int) -> None:
    cache[key] = value
    if len(cache) > limit:
        cache.popitem(last=False)


@contextmanager
def _as_system_failure(owner: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SystemFailure(f"the key of {owner} can't be kept: {error}") from error


def _find_or_create(path: Path, owner: str) -> bytes:
    """The owner's key, and it is on disk: one that was found may stem from a process that died before it synced."""
    with _as_system_failure(owner):
        key = _read(path) or _create(path, owner)
        sync_directory(path.parent)
        return key


def _create(path: Path, owner: str) -> bytes:
    """A new key. Its file has its name only once its content is on disk."""
    key = secrets.token_bytes(KEY_BYTES)
    draft = path.with_suffix(_DRAFT_SUFFIX)
    create_file(draft)
    _write(draft, _KeyFile(owner=owner, key=key))
    draft.rename(path)
    return key


def _write(path: Path, content: _KeyFile) -> None:
    """Overwrite an existing file in place, durably; contents of one owner have equal lengths."""
    with path.open("r+b", buffering=0) as file:
        file.write(msgspec.json.encode(content))
        os.fsync(file.fileno())


def _read(path: Path) -> bytes | None:
    """The key in a file; None where there is none or its destruction has begun. Raises SystemFailure."""
    content = _content(path)
    return None if content is None or content.key == _DESTROYED else content.key


def _content(path: Path) -> _KeyFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_KeyFile)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemFailure(f"the key file {path} can't be read: {error}") from error
    except msgspec.MsgspecError as error:
        raise SystemFailure(f"the key file {path} is damaged: {error}") from error


def _destroy(path: Path, owner: str) -> None:
    with _as_system_failure(owner):
        path.with_suffix(_DRAFT_SUFFIX).unlink(missing_ok=True)
        try:
            _write(path, _KeyFile(owner=owner, key=_DESTROYED))
        except FileNotFoundError:
            pass
        else:
            path.unlink()
        sync_directory(path.parent)


def _owners(directory: Path, besides: Collection[str]) -> tuple[str, ...]:
    known = set(map(_file_name, besides))
    with _as_system_failure("every owner"):
        files = [path for path in directory.iterdir() if path.name not in known and path.suffix != _DRAFT_SUFFIX]
    return tuple(sorted(filter(None, map(_owner, files))))


def _owner(path: Path) -> str | None:
    """Whose key a file holds. One damaged file must not keep the engine from recovering everything else."""
    try:
        content = _content(path)
    except SystemFailure as error:
        LOGGER.error("%s", error)  # noqa: TRY400  # the text says it all
        return None
    return None if content is None else content.owner


def _keys(directory: Path) -> dict[str, bytes]:
    """Keys by owner; one that was destroyed is none, and a damaged file is told and left out."""
    with _as_system_failure("every owner"):
        files = [path for path in directory.iterdir() if path.suffix != _DRAFT_SUFFIX]
    found = ((owner, _read(path)) for path in files if (owner := _owner(path)) is not None)
    return {owner: key for owner, key in found if key is not None}
