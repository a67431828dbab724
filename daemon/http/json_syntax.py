"""Says what is wrong with a JSON text in the words of Go's encoding/json, which clients and their tests know.

Source: the Go standard library's documented behaviour, RFC 8259; no recursion, so no text is too deep for it.
"""

import re
from collections.abc import Callable
from typing import NoReturn

from daemon.http.quoting import quoted_byte

_FURTHEST_BYTES = 64 * 1024  # what comes later is seldom a fault and always slow to find
_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING_BODY = re.compile(rb'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_HEX = re.compile(rb"[0-9a-fA-F]{0,4}")
_DIGITS = re.compile(rb"[0-9]*")
_BRACE, _CLOSING_BRACE, _CLOSING_BRACKET = b"{}]"
_QUOTE, _BACKSLASH, _COLON, _COMMA, _MINUS = b'"\\:,-'
_OPENING = b"{["
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_ENDED = "unexpected EOF"


class _Wrong(Exception):
    """Found it."""


def explain(text: bytes) -> str:
    """The first fault of the first value in `text`; "" when it has none near its beginning."""
    scanner = _Scanner(text)
    try:
        scanner.scan()
    except _Wrong as wrong:
        return str(wrong)
    return ""


class _Scanner:
    """Each step takes a byte and names the step for the next one; None ends the value."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._open: list[int] = []  # brackets that wait for their partners

    def scan(self) -> None:
        """Go over one value, as far as may be. Raises _Wrong."""
        step: _Step | None = self._value
        while step is not None and self._at < _FURTHEST_BYTES:
            step = step(self._next())

    # ---- steps

    def _value(self, byte: int) -> "_Step | None":
        if byte in _OPENING:
            self._open.append(byte)
            return self._first_key if byte == _BRACE else self._first_element
        if byte == _QUOTE:
            self._string()
        elif byte == _MINUS or chr(byte) in "0123456789":
            self._number(byte)
        elif byte in _LITERALS:
            self._literal(_LITERALS[byte])
        else:
            self._fail(byte, "looking for beginning of value")
        return self._after()

    def _first_key(self, byte: int) -> "_Step | None":
        return self._close() if byte == _CLOSING_BRACE else self._key(byte)

    def _first_element(self, byte: int) -> "_Step | None":
        return self._close() if byte == _CLOSING_BRACKET else self._value(byte)

    def _key(self, byte: int) -> "_Step":
        if byte != _QUOTE:
            self._fail(byte, "looking for beginning of object key string")
        self._string()
        return self._colon

    def _colon(self, byte: int) -> "_Step":
        if byte != _COLON:
            self._fail(byte, "after object key")
        return self._value

    def _after_member(self, byte: int) -> "_Step | None":
        if byte == _CLOSING_BRACE:
            return self._close()
        if byte != _COMMA:
            self._fail(byte, "after object key:value pair")
        return self._key

    def _after_element(self, byte: int) -> "_Step | None":
        if byte == _CLOSING_BRACKET:
            return self._close()
        if byte != _COMMA:
            self._fail(byte, "after array element")
        return self._value

    def _close(self) -> "_Step | None":
        self._open.pop()
        return self._after()

    def _after(self) -> "_Step | None":
        if not self._open:
            return None
        return self._after_member if self._open[-1] == _BRACE else self._after_element

    # ---- scalars

    def _string(self) -> None:
        self._skip(_STRING_BODY)
        byte = self._take()
        if byte == _BACKSLASH:
            self._escape()
        if byte != _QUOTE:
            self._fail(byte, "in string literal")

    def _escape(self) -> None:
        """The body's expression has stopped at a backslash, so what follows is wrong."""
        byte = self._take()
        if byte != ord("u"):
            self._fail(byte, "in string escape code")
        self._skip(_HEX)
        self._fail(self._take(), "in \\u hexadecimal character escape")

    def _number(self, byte: int) -> None:
        if byte == _MINUS:
            byte = self._take()
            self._require_digit(byte, "in numeric literal")
        if byte != ord("0"):
            self._skip(_DIGITS)
        if self._peek() == b".":
            self._at += 1
            self._require_digit(self._take(), "after decimal point in numeric literal")
            self._skip(_DIGITS)
        if self._peek() in (b"e", b"E"):
            self._at += 1
            if self._peek() in (b"+", b"-"):
                self._at += 1
            self._require_digit(self._take(), "in exponent of numeric literal")
            self._skip(_DIGITS)

    def _require_digit(self, byte: int, place: str) -> None:
        if chr(byte) not in "0123456789":
            self._fail(byte, place)

    def _literal(self, word: bytes) -> None:
        for expected in word[1:]:
            byte = self._take()
            if byte != expected:
                self._fail(byte, f"in literal {word.decode()} (expecting {quoted_byte(expected)})")

    # ---- bytes

    def _next(self) -> int:
        self._skip(_SPACE)
        return self._take()

    def _take(self) -> int:
        if self._at >= len(self._text):
            raise _Wrong(_ENDED)
        self._at += 1
        return self._text[self._at - 1]

    def _peek(self) -> bytes:
        return self._text[self._at : self._at + 1]

    def _skip(self, expression: re.Pattern[bytes]) -> None:
        if match := expression.match(self._text, self._at):
            self._at = match.end()

    def _fail(self, byte: int, place: str) -> NoReturn:
        raise _Wrong(f"invalid character {quoted_byte(byte)} {place}")


_Step = Callable[[int], "_Step | None"]
