"""The checksums of tar headers, which are reckoned otherwise than the library does it."""

import struct
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.tar_entries import BadArchive, Stream, checksums, entries

FIELD = slice(148, 156)


@given(st.binary(min_size=tarfile.BLOCKSIZE, max_size=tarfile.BLOCKSIZE))
def test_both_are_those_of_the_library(header):
    assert checksums(header) == (
        256 + sum(struct.unpack_from("148B8x356B", header)),
        256 + sum(struct.unpack_from("148b8x356b", header)),
    )


@pytest.mark.parametrize("which", [0, 1])
def test_a_header_may_have_either(which):
    assert [entry.name for entry in entries(Stream(iter((header(which), bytes(1024)))))] == ["grün"]


def test_a_header_with_another_is_refused():
    damaged = bytearray(header(0))
    damaged[0] += 1
    with pytest.raises(BadArchive):
        list(entries(Stream(iter((bytes(damaged), bytes(1024))))))


def header(which: int) -> bytes:
    """Of an entry whose name isn't ASCII; with the checksum of unsigned or of signed bytes."""
    made = bytearray(tarfile.TarInfo("grün").tobuf(tarfile.GNU_FORMAT))
    made[FIELD] = b"%06o\0 " % checksums(bytes(made))[which]
    return bytes(made)
