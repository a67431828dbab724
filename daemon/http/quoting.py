"""Quotes text as Go does; without it messages with odd characters would differ from Docker's.

Source: Go specification, strconv.Quote.
"""

_NAMED = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def quoted(text: str) -> str:
    """The text in double quotes, unprintable characters escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def quoted_byte(value: int) -> str:
    """One byte in single quotes, as a JSON syntax error shows it."""
    character = chr(value)
    if character == "'":
        return "'\\''"
    return "'\"'" if character == '"' else f"'{_escaped(character)}'"


def _escaped(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
