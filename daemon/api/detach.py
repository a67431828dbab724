"""The key sequence that leaves a terminal without ending what runs in it. Pure."""

from typing import Final

from events.errors import InvalidParameter

DEFAULT: Final = "ctrl-p,ctrl-q"
_CONTROLS: Final = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # ctrl-@ is 0, ctrl-a is 1 ...


class InvalidDetachKeys(InvalidParameter):
    """Not a sequence of characters and `ctrl-<character>`."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Invalid detach keys ({text}) provided")


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` or `a,b` as bytes; "" is the default. Raises InvalidDetachKeys."""
    return bytes(_code(key, text) for key in (text or DEFAULT).split(","))


def _code(key: str, text: str) -> int:
    control = key.removeprefix("ctrl-")
    if control != key and len(control) == 1 and control in _CONTROLS:
        return _CONTROLS.index(control)
    if key == "DEL":
        return 127
    if len(key) == 1 and key.isascii():
        return ord(key)
    raise InvalidDetachKeys(text)


class DetachFilter:
    """Holds back what may be the beginning of the sequence, and lets the rest through."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """What goes to the process; nothing of the sequence once it is complete, and nothing after it."""
        passed = bytearray()
        for number in data:
            if self.detached:
                break
            passed += self._take(bytes((number,)))
        return bytes(passed)

    def rest(self) -> bytes:
        """What was held back when the input ends."""
        held, self._held = self._held, b""
        return held

    def _take(self, key: bytes) -> bytes:
        seen = self._held + key
        if seen == self._keys:
            self.detached, self._held = True, b""
            return b""
        kept = next(size for size in range(len(seen), -1, -1) if self._keys.startswith(seen[len(seen) - size :]))
        self._held = seen[len(seen) - kept :]
        return seen[: len(seen) - kept]
