"""Keys on their way to another host: nobody but the recipient opens them, and nothing about them can be changed."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from events.errors import InvalidParameter
from events.key_export import KeyExport, WrongKey, open_keys, open_value, seal_keys

KEYS = {"container/a": b"1" * 32, "volume/b": b"2" * 32}
OWN = X25519PrivateKey.generate()
PRIVATE, PUBLIC = OWN.private_bytes_raw(), OWN.public_key().public_bytes_raw()


def export() -> KeyExport:
    return seal_keys(KEYS, PUBLIC, log="log", sequence=7)


@pytest.mark.parametrize(
    "change",
    [
        {"log": "other"},
        {"sequence": 8},
        {"nonce": b"0" * 12},
        {"ciphertext": b"0" * 100},
        {"ciphertext": b""},
        {"ephemeral": PUBLIC},
        {"ephemeral": b"short"},
    ],
)
def test_a_changed_export_opens_nothing(change):
    with pytest.raises(WrongKey, match="changed or is damaged"):
        open_keys(msgspec.structs.replace(export(), **change), PRIVATE)


def test_another_key_opens_nothing():
    other = X25519PrivateKey.generate().private_bytes_raw()
    with pytest.raises(WrongKey, match="use the one that the export was made for"):
        open_keys(export(), other)
    with pytest.raises(WrongKey, match="has 32 bytes, this has 3"):
        open_keys(export(), b"abc")


@pytest.mark.parametrize("recipient", [b"", b"abc", bytes(32)])
def test_a_public_key_that_is_none(recipient):
    with pytest.raises(InvalidParameter, match="X25519"):
        seal_keys(KEYS, recipient, log="log", sequence=7)


def test_the_recipient_opens_it():
    written = msgspec.json.encode(export())
    assert b"1" * 32 not in written
    assert open_keys(msgspec.json.decode(written, type=KeyExport), PRIVATE) == KEYS
    assert export().ciphertext != export().ciphertext


def test_values_without_a_key_stay_closed():
    assert open_value({}, "container/a", b"0" * 12, b"x" * 20) is None
    assert open_value(KEYS, "container/a", b"0" * 12, b"x" * 20) is None
