import pytest

from daemon.http.quoting import quoted, quoted_byte


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bad", '"bad"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("\n\t\x00\x7f", '"\\n\\t\\x00\\x7f"'),
        ("é\u200b\U000e0001", '"é\\u200b\\U000e0001"'),
    ],
)
def test_quoted(text: str, expected: str):
    assert quoted(text) == expected


@pytest.mark.parametrize(
    ("byte", "expected"), [(0x62, "'b'"), (0x27, "'\\''"), (0x22, "'\"'"), (0x0A, "'\\n'"), (0xEF, "'ï'")]
)
def test_quoted_byte(byte: int, expected: str):
    assert quoted_byte(byte) == expected
