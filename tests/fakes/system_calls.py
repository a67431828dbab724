"""Programs that make one system call and exit with its errno; a busybox has none for most of what is to be refused."""

import platform
import struct

import pytest

_BASE = 0x400000
_HEADERS = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_REGISTERS = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")  # rdi rsi rdx r10 r8 r9

needs_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the programs are made for x86-64")


def program(number: int, *arguments: int) -> bytes:
    """An executable for x86-64: exit status 0 when the call works, its errno when it fails."""
    code = b"".join(
        load + struct.pack("<Q", value & (1 << 64) - 1) for load, value in zip(_REGISTERS, arguments, strict=False)
    )
    code += b"\x48\xb8" + struct.pack("<Q", number) + b"\x0f\x05"  # mov rax, number; syscall
    # mov rdi, rax; neg rdi; test rax, rax; js over the next; xor edi, edi
    code += b"\x48\x89\xc7\x48\xf7\xdf\x48\x85\xc0\x78\x02\x31\xff"
    code += b"\xb8\x3c\x00\x00\x00\x0f\x05"  # exit(rdi)
    size = _HEADERS.size + _SEGMENT.size
    entry = _BASE + size
    header = _HEADERS.pack(
        b"\x7fELF\x02\x01\x01" + bytes(9),
        2,
        62,
        1,
        entry,
        _HEADERS.size,
        0,
        0,
        _HEADERS.size,
        _SEGMENT.size,
        1,
        0,
        0,
        0,
    )
    segment = _SEGMENT.pack(1, 5, 0, _BASE, _BASE, size + len(code), size + len(code), 0x1000)
    return header + segment + code
