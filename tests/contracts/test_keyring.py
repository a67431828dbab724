"""What every `Keyring` keeps to, run on the one in files and the fake."""

from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from events.file_keyring import FileKeyring
from events.key_export import open_value
from events.sealed import KeyDestroyed, Keyring, Sealed
from tests.fakes.keyring import MemoryKeyring


def in_files(directory: Path) -> Keyring:
    return FileKeyring(directory / "keys")


def in_memory(_: Path) -> Keyring:
    return MemoryKeyring()


@pytest.fixture(params=[in_files, in_memory])
def keyring(request: pytest.FixtureRequest, tmp_path: Path) -> Keyring:
    make: Callable[[Path], Keyring] = request.param
    return make(tmp_path)


async def test_what_was_sealed_opens(keyring: Keyring) -> None:
    for plain in (b"", b"secret", bytes(range(256)) * 1000):
        sealed = await keyring.seal("container/a", plain)
        assert sealed.owner == "container/a"
        assert keyring.open(sealed) == plain
        assert keyring.open(sealed) == plain


async def test_nothing_of_the_value_shows(keyring: Keyring) -> None:
    one, other = [await keyring.seal("container/a", b"PASSWORD=hunter2") for _ in range(2)]
    assert b"hunter2" not in one.ciphertext
    assert one.ciphertext != other.ciphertext
    assert one.nonce != other.nonce


async def test_a_destroyed_key_takes_its_values_along(keyring: Keyring) -> None:
    opened, unopened = [await keyring.seal("container/a", b"secret") for _ in range(2)]
    kept = await keyring.seal("container/b", b"kept")
    keyring.open(opened)
    await keyring.destroy("container/a")
    for sealed in (opened, unopened):
        with pytest.raises(KeyDestroyed, match="container/a"):
            keyring.open(sealed)
    assert keyring.open(kept) == b"kept"


async def test_destroying_what_is_absent_succeeds(keyring: Keyring) -> None:
    await keyring.destroy("container/never")
    await keyring.seal("container/a", b"secret")
    await keyring.destroy("container/a")
    await keyring.destroy("container/a")
    assert await keyring.owners() == ()


async def test_a_new_owner_of_the_same_name_gets_a_new_key(keyring: Keyring) -> None:
    old = await keyring.seal("volume/data", b"old")
    await keyring.destroy("volume/data")
    new = await keyring.seal("volume/data", b"new")
    assert keyring.open(new) == b"new"
    with pytest.raises(KeyDestroyed):
        keyring.open(old)


async def test_a_value_belongs_to_its_owner(keyring: Keyring) -> None:
    sealed = await keyring.seal("container/a", b"secret")
    await keyring.seal("container/b", b"other")
    with pytest.raises(KeyDestroyed):
        keyring.open(msgspec.structs.replace(sealed, owner="container/b"))
    with pytest.raises(KeyDestroyed):
        keyring.open(Sealed(owner="container/a", nonce=sealed.nonce, ciphertext=sealed.ciphertext[:-1] + b"\x00\x01"))


async def test_owners_are_those_with_a_key(keyring: Keyring) -> None:
    assert await keyring.owners() == ()
    for owner in ("container/a", "volume/a b/../c", "container/a"):
        await keyring.seal(owner, b"x")
    assert sorted(await keyring.owners()) == ["container/a", "volume/a b/../c"]
    assert await keyring.owners(besides=["container/a", "container/never"]) == ("volume/a b/../c",)
    await keyring.destroy("container/a")
    assert await keyring.owners() == ("volume/a b/../c",)


async def test_concurrent_seals_share_one_key(keyring: Keyring) -> None:
    sealed: list[Sealed] = []

    async def seal() -> None:
        sealed.append(await keyring.seal("container/a", b"secret"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(seal)
    assert [keyring.open(value) for value in sealed] == [b"secret"] * 10


async def test_an_export_has_every_key_and_none_that_was_destroyed(keyring: Keyring) -> None:
    assert await keyring.export() == {}
    sealed = [await keyring.seal(f"container/{name}", b"secret") for name in "abc"]
    await keyring.destroy("container/b")
    exported = await keyring.export()
    assert set(exported) == {"container/a", "container/c"}
    opened = [open_value(exported, each.owner, each.nonce, each.ciphertext) for each in sealed]
    assert opened == [b"secret", None, b"secret"]
