"""What a client command ends with when it can't go on; the text says what is wrong and what to do."""


class ClientFailure(Exception):
    """Shown to people as it is; nothing was changed, and positions are where they were."""


class LogChanged(ClientFailure):
    """The engine's log isn't the one that a position is in."""


class SinkFailed(ClientFailure):
    """What events are written to doesn't take them."""


class Unusable(ClientFailure):
    """A file, key or answer isn't what it should be."""
