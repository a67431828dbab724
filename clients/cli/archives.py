"""Tar streams between this host's files and the engine, without holding one in memory."""

import os
import sys
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread

_CHUNK_BYTES = 64 * 1024


async def extract(chunks: AsyncIterable[bytes], rename: Callable[[str], str], target: Path, *, ownership: bool) -> None:
    """Unpack a stream below `target`. `rename` maps a member's name to a path below it; "" leaves it out.

    Links are made when all else is there, so that nothing is written through one that the archive brought.
    Raises OSError, tarfile.TarError.
    """
    await _through_pipe(chunks, lambda file: _extract(file, rename, target, ownership=ownership))


def _extract(file: BinaryIO, rename: Callable[[str], str], target: Path, *, ownership: bool) -> None:
    links: list[tarfile.TarInfo] = []
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            name = rename(member.name)
            if not name:
                continue
            placed = tarfile.tar_filter(member.replace(name=name, deep=False), str(target))
            if member.issym() or member.islnk():
                links.append(placed.replace(linkname=rename(member.linkname) if member.islnk() else member.linkname))
            else:
                archive.extract(placed, target, numeric_owner=ownership, filter=lambda each, _: each)
    for link in links:
        _link(link, target)


def _link(link: tarfile.TarInfo, target: Path) -> None:
    place = target / link.name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    if link.issym():
        place.symlink_to(link.linkname)
    else:
        os.link(target / link.linkname, place, follow_symlinks=False)


async def _through_pipe(chunks: AsyncIterable[bytes], read: Callable[[BinaryIO], None]) -> None:
    """Have a blocking reader read what comes."""
    inside, outside = os.pipe()
    failures: list[Exception] = []

    def work() -> None:
        with os.fdopen(inside, "rb") as file:
            try:
                read(file)
                while file.read(_CHUNK_BYTES):  # what follows an archive's end
                    pass
            except (OSError, tarfile.TarError) as error:
                failures.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, work)
        try:
            async for chunk in chunks:
                await anyio.to_thread.run_sync(_write_all, outside, chunk)
        except BrokenPipeError:
            pass  # the reader has failed and says why
        finally:
            os.close(outside)
    if failures:
        raise failures[0]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@asynccontextmanager
async def packed(source: Path, name: str, *, follow: bool, ownership: bool) -> AsyncIterator[AsyncIterator[bytes]]:
    """The stream of an archive with `source` under `name`; "" packs what is in a directory."""
    inside, outside = os.pipe()
    failures: list[Exception] = []

    def work() -> None:
        with os.fdopen(outside, "wb") as file:
            try:
                _pack(file, source, name, follow=follow, ownership=ownership)
            except BrokenPipeError:
                pass  # nobody reads any more
            except OSError as error:
                failures.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, work)
        try:
            yield _chunks(inside)
        finally:
            os.close(inside)
    if failures:
        raise failures[0]


def _pack(file: BinaryIO, source: Path, name: str, *, follow: bool, ownership: bool) -> None:
    def own(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if not ownership:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        real = source.resolve() if follow else source
        if name:
            archive.add(real, name, filter=own)
        else:
            for entry in sorted(real.iterdir()):
                archive.add(entry, entry.name, filter=own)


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    while data := await anyio.to_thread.run_sync(os.read, descriptor, _CHUNK_BYTES):
        yield data


async def save_to(chunks: AsyncIterable[bytes], path: str) -> None:
    """Write a stream to a file, which appears when it is whole, or to stdout. Raises OSError."""
    if not path:
        async for chunk in chunks:
            await anyio.to_thread.run_sync(_write_all, 1, chunk)
        return
    staged = Path(f"{path}.part")
    try:
        async with await anyio.open_file(staged, "wb") as file:
            async for chunk in chunks:
                await file.write(chunk)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


async def standard_input() -> AsyncIterator[bytes]:
    """What is piped into this program."""
    async for data in _chunks(sys.stdin.fileno()):
        yield data
