"""The bytes of a saved archive: tars of layers are begun before it is their turn, and none is left open."""

import io
import tarfile

import pytest

from daemon.api.saving import archive
from events.errors import SystemFailure
from events.projections.layers import Layer
from handlers.images.saving import Member

COUNT = 9


class Tar:
    """What a layer's process would give, in two blocks."""

    def __init__(self, content, broken):
        self._blocks = iter((content[:1], content[1:]))
        self._broken = broken
        self.is_open = True

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self._broken:
            raise SystemFailure("broken")
        block = next(self._blocks, None)
        if block is None:
            await self.aclose()
            raise StopAsyncIteration
        return block

    async def aclose(self):
        self.is_open = False


class Tars:
    def __init__(self, broken=""):
        self._broken = broken
        self.begun = []

    async def tar_size(self, cache_id):
        return len(cache_id)

    async def tar(self, cache_id, diff_id):
        self.begun.append(Tar(cache_id.encode(), cache_id == self._broken))
        return self.begun[-1]

    def several(self, layers):
        return self

    def open(self):
        return sum(tar.is_open for tar in self.begun)


def members():
    layers = [
        Layer(chain_id=f"c{n}", diff_id=f"d{n}", parent="", cache_id=f"cache{n}", driver="x") for n in range(COUNT)
    ]
    parts = [Member(name=f"{layer.diff_id}.tar", size=len(layer.cache_id), layer=layer) for layer in layers]
    return [Member(name="first", size=1, content=b"1"), *parts, Member(name="last", size=1, content=b"9")]


async def test_members_come_in_order_and_few_tars_are_ahead():
    tars, content, ahead = Tars(), b"", []
    async for chunk in archive(tars, members()):
        content += chunk
        ahead.append(tars.open())
    with tarfile.open(fileobj=io.BytesIO(content)) as read:
        found = [(entry.name, content[entry.offset_data :][: entry.size].decode()) for entry in read]
    assert found == [("first", "1"), *((f"d{n}.tar", f"cache{n}") for n in range(COUNT)), ("last", "9")]
    assert max(ahead) == 4
    assert tars.open() == 0


async def test_a_reader_that_leaves_leaves_no_tar_open():
    tars = Tars()
    chunks = archive(tars, members())
    async for chunk in chunks:
        if chunk == b"c":  # of the first tar
            break
    assert tars.open() == 4
    await chunks.aclose()
    assert tars.open() == 0


async def test_a_tar_that_breaks_leaves_none_open():
    tars = Tars(broken="cache2")
    with pytest.raises(SystemFailure, match="broken"):
        async for _ in archive(tars, members()):
            pass
    assert tars.begun
    assert tars.open() == 0
