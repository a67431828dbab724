"""What surrounds a payload: who caused it, which command it belongs to, and where it stands in the log."""

import msgspec

from events.base import Event


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who really called. Everything but `user_agent` comes from the kernel or from the TLS handshake."""

    kind: str  # "unix", "tls", "tcp", "engine" (a policy) or "recovery"
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    executable: str = ""
    login_uid: int | None = None  # audit login uid; None where the kernel has none for the process
    subject: str = ""  # distinguished name of the client's certificate
    address: str = ""  # source address of a TCP client
    user_agent: str = ""  # the client's own word


ENGINE = Actor(kind="engine")
RECOVERY = Actor(kind="recovery")
REPEATABLE = "key-"  # ids of commands that a client may send again, also to a later daemon


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why an event was appended."""

    actor: Actor
    command_id: str
    correlation_id: str  # the id of the request that started the whole chain
    causation: int = 0  # sequence of the event that led to it; 0 for a client's request


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it stands in the log."""

    sequence: int  # dense, from 1
    time_ns: int  # never runs backwards
    clock_ns: int  # the wall clock as it was read
    stream: str  # `<noun>/<id>`
    version: int  # in its stream, dense, from 1
    event: Event
    cause: Cause
    reply: bytes | None = None  # JSON `Reply` on the event that concludes a command
    hash: bytes = b""  # SHA-256 over the predecessor's hash and this event as stored


class CommandEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """A command on the bus. `data` is the JSON of the command that `type` names."""

    id: str
    type: str
    data: msgspec.Raw
    actor: Actor
    correlation_id: str
    causation: int = 0
    deadline_ns: int = 0  # wall clock; 0: none


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it crosses the bus; `recorded` is the text for the log where the message may quote a secret."""

    kind: str
    message: str
    recorded: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command; `sequence` is the log position at which it holds."""

    sequence: int = 0
    answer: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None
