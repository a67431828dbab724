"""Whoever opens the place of an awaited file gets its content, early or late, and nobody waits for who is gone."""

import os
import stat
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from handlers.exec.drivers.awaited_file import AwaitedFile, write_private

LIMIT_S = 20
LARGE = b'{"words":"' + b"x" * 3_000_000 + b'"}'


def read(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


@pytest.mark.parametrize("content", [b"{}", LARGE])
async def test_a_program_that_waits_gets_all_of_it_and_later_ones_a_plain_file(tmp_path, content):
    path = tmp_path / "config.json"
    file, never = AwaitedFile(path), os.pipe()
    got = []

    async def reader() -> None:
        got.append(await anyio.to_thread.run_sync(read, path, len(content)))

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await file.hand_over(content, never[:1])
        write_private(path, content)
    assert got == [content]
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.close()
    for end in never:
        os.close(end)


async def test_nothing_is_handed_to_a_program_that_is_gone(tmp_path):
    file, gone = AwaitedFile(tmp_path / "config.json"), os.pipe()
    os.write(gone[1], b"ended")
    with anyio.fail_after(LIMIT_S):
        await file.hand_over(LARGE, gone[:1])
    file.close()
    for end in gone:
        os.close(end)
