"""Keys in files: what is on disk, and what crashes leave there."""

import itertools
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from events.errors import SystemFailure
from events.file_keyring import OPENED_VALUES, FileKeyring
from events.sealed import KeyDestroyed


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def is_empty(directory: Path) -> bool:
    return list(directory.iterdir()) == []


async def test_keys_survive_the_process(tmp_path: Path) -> None:
    sealed = await FileKeyring(tmp_path).seal("container/a", b"secret")
    again = FileKeyring(tmp_path)
    assert again.open(sealed) == b"secret"
    assert again.open(await again.seal("container/a", b"more")) == b"more"
    assert FileKeyring(tmp_path).open(sealed) == b"secret"


async def test_only_root_may_read(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    await FileKeyring(directory).seal("container/a", b"secret")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(directory).stat().st_mode) == 0o600
    assert "container" not in only_file(directory).name


async def test_destruction_overwrites_the_key(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path)
    await keyring.seal("container/a", b"secret")
    path = only_file(tmp_path)
    before = path.read_bytes()
    with path.open("rb") as held:  # the blocks stay readable as long as the file is open
        await keyring.destroy("container/a")
        after = held.read()
    assert is_empty(tmp_path)
    assert len(after) == len(before)
    assert after == b'{"owner":"container/a","key":"' + b"A" * 43 + b'="}'


async def test_an_interrupted_destruction_is_told_and_finished(tmp_path: Path) -> None:
    sealed = await FileKeyring(tmp_path).seal("container/a", b"secret")
    only_file(tmp_path).write_bytes(b'{"owner":"container/a","key":"' + b"A" * 43 + b'="}')
    keyring = FileKeyring(tmp_path)
    with pytest.raises(KeyDestroyed):
        keyring.open(sealed)
    assert await keyring.owners() == ("container/a",)
    await keyring.destroy("container/a")
    assert is_empty(tmp_path)


async def test_an_interrupted_destruction_does_not_stop_a_new_owner(tmp_path: Path) -> None:
    await FileKeyring(tmp_path).seal("volume/a", b"secret")
    only_file(tmp_path).write_bytes(b'{"owner":"volume/a","key":"' + b"A" * 43 + b'="}')
    sealed = await FileKeyring(tmp_path).seal("volume/a", b"new")
    assert FileKeyring(tmp_path).open(sealed) == b"new"


async def test_an_interrupted_creation_is_cleared_away(tmp_path: Path) -> None:
    await FileKeyring(tmp_path).seal("container/a", b"x")
    draft = only_file(tmp_path).with_suffix(".new")
    await FileKeyring(tmp_path).destroy("container/a")
    draft.write_bytes(b"half a key")
    keyring = FileKeyring(tmp_path)
    assert await keyring.owners() == ()
    assert keyring.open(await keyring.seal("container/a", b"secret")) == b"secret"
    draft.write_bytes(b"half a key")
    await keyring.destroy("container/a")
    assert is_empty(tmp_path)


async def test_a_key_that_was_never_finished_goes_at_the_next_start(tmp_path: Path) -> None:
    await FileKeyring(tmp_path).seal("container/a", b"x")
    only_file(tmp_path).rename(only_file(tmp_path).with_suffix(".new"))
    FileKeyring(tmp_path)
    assert is_empty(tmp_path)


async def test_a_damaged_file_is_named_and_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sealed = await FileKeyring(tmp_path).seal("container/a", b"secret")
    path = only_file(tmp_path)
    path.write_bytes(b"{")
    keyring = FileKeyring(tmp_path)
    with pytest.raises(SystemFailure, match=path.name):
        keyring.open(sealed)
    await keyring.seal("container/b", b"fine")
    assert await keyring.owners() == ("container/b",)
    assert path.name in caplog.text


async def test_a_file_that_can_not_be_read_is_named_and_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await FileKeyring(tmp_path).seal("container/a", b"secret")
    path = only_file(tmp_path)
    path.unlink()
    path.mkdir()
    keyring = FileKeyring(tmp_path)
    await keyring.seal("container/b", b"fine")
    assert await keyring.owners() == ("container/b",)
    assert path.name in caplog.text


async def test_a_directory_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path / "keys")
    (tmp_path / "keys").rmdir()
    with pytest.raises(SystemFailure, match="container/a can't be kept"):
        await keyring.seal("container/a", b"secret")


async def test_opened_values_are_bounded(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path)
    values = [await keyring.seal("container/a", str(number).encode()) for number in range(OPENED_VALUES + 5)]
    assert [keyring.open(value) for value in values] == [str(number).encode() for number in range(OPENED_VALUES + 5)]
    assert len(keyring._opened) == OPENED_VALUES


async def test_a_cancelled_destruction_is_finished(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path)
    sealed = await keyring.seal("container/a", b"secret")
    keyring.open(sealed)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await keyring.destroy("container/a")
    assert is_empty(tmp_path)
    with pytest.raises(KeyDestroyed):
        keyring.open(sealed)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """The interpreter goes from thread to thread as often as it can."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("eager_threads")
async def test_threads_may_open_values_while_keys_are_destroyed(tmp_path: Path) -> None:
    keyring, is_over = FileKeyring(tmp_path), threading.Event()
    values = [await keyring.seal("container/other", b"secret") for _ in range(2 * OPENED_VALUES)]
    gone = [await keyring.seal(f"container/{number}", b"secret") for number in range(30)]

    def open_all() -> None:
        for sealed in itertools.cycle(values):  # more than are kept: each time some are put in and some thrown out
            assert keyring.open(sealed) == b"secret"
            if is_over.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_all)
        try:
            for sealed in gone:
                keyring.open(sealed)
                await keyring.destroy(sealed.owner)
                with pytest.raises(KeyDestroyed):
                    keyring.open(sealed)
        finally:
            is_over.set()
        opening.result()
