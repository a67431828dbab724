"""Events as OCSF 1.3 API Activity (class 6003), as security tools read them. Source: https://schema.ocsf.io/1.3.0/classes/api_activity"""

from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

import msgspec

from clients.audit.cloudevents import position_of_id
from clients.subscribe.position import Position
from events.envelope import Actor
from events.lines import Line
from events.outcomes import DONE, FAILED, REFUSED, REQUESTED, told_by

CONTENT_TYPE: Final = "application/json"
CLASS_UID: Final = 6003
CATEGORY_UID: Final = 6
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
INFORMATIONAL, LOW = 1, 2
_UNKNOWN, _SUCCESS, _FAILURE, _OTHER_STATUS = 0, 1, 2, 99
_REGULAR_FILE: Final = 1
_MILLISECOND_NS: Final = 1_000_000

_ACTIVITIES: Final = {
    "create": CREATE,
    "load": CREATE,
    "import": CREATE,
    "apply": CREATE,
    "record_access": READ,
    "remove": DELETE,
    "untag": DELETE,
}
_NAMES: Final = {CREATE: "Create", READ: "Read", UPDATE: "Update", DELETE: "Delete", OTHER: "Other"}
_STATUSES: Final = {
    REQUESTED: (_OTHER_STATUS, "Requested"),
    DONE: (_SUCCESS, "Success"),
    FAILED: (_FAILURE, "Failure"),
    REFUSED: (_FAILURE, "Failure"),
}


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Who tells."""

    name: str = "Shiplog"
    vendor_name: str = "Shiplog"


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """`uid` names the event, `log_name` the log, `sequence` its place; `correlation_uid` is the first request's id."""

    version: str = "1.3.0"
    product: msgspec.Raw  # Product
    uid: str
    log_name: str
    sequence: int
    event_code: str
    correlation_uid: str


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A program's file."""

    name: str
    path: str
    type_id: int = _REGULAR_FILE


class Process(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who called."""

    pid: int
    file: File | None = None


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """For whom."""

    uid: str = ""
    name: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Whose login it goes back to (the audit login uid)."""

    uid: str


class Caller(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The `actor` object: at least one of its fields."""

    user: User | None = None
    process: Process | None = None
    session: Session | None = None
    app_name: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the request came from."""

    name: str = ""
    ip: str = ""
    port: int = 0


class Uid(msgspec.Struct, frozen=True, kw_only=True):
    """A request or a service."""

    uid: str


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked."""

    name: str = "shiplog"


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """The operation: a command's TYPE."""

    operation: str
    service: msgspec.Raw  # Service
    request: Uid


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What it was about."""

    uid: str
    type: str


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The client's own word."""

    user_agent: str = ""


class Unmapped(msgspec.Struct, frozen=True, kw_only=True):
    """What OCSF has no place for: the record's fields (secrets sealed) and the chain's hash."""

    record: msgspec.Raw
    hash: str


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One event of class API Activity. What many events have in common is kept encoded."""

    activity_id: int
    activity_name: str
    category_uid: int = CATEGORY_UID
    category_name: str = "Application Activity"
    class_uid: int = CLASS_UID
    class_name: str = "API Activity"
    type_uid: int
    severity_id: int
    time: int  # ms, wall clock
    status_id: int
    status: str
    status_detail: str
    metadata: Metadata
    actor: msgspec.Raw  # Caller
    src_endpoint: msgspec.Raw  # Endpoint
    api: Api
    http_request: msgspec.Raw  # Request
    resources: msgspec.Raw  # a list of Resource
    unmapped: Unmapped


class _Reason(msgspec.Struct, frozen=True, kw_only=True):
    """What events of failures say."""

    error: str = ""
    reason: str = ""
    command: str = ""


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """Where an encoded event stands."""

    metadata: "_KnownUid"


class _KnownUid(msgspec.Struct, frozen=True, kw_only=True):
    """Its id."""

    uid: str


class _Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Who, and under which ids."""

    actor: msgspec.Raw  # the same for many events: read once
    command_id: str
    correlation_id: str


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record is told."""

    clock_ns: int
    stream: str
    type: str
    cause: _Cause
    data: msgspec.Raw


_records = msgspec.json.Decoder(_Record)
_reasons = msgspec.json.Decoder(_Reason)
_known = msgspec.json.Decoder(_Known)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    """A line as an API Activity."""
    return _encoder.encode(activity(line))


def activity(line: Line) -> Activity:
    """What an event is in OCSF's words."""
    record = _records.decode(line.record)
    command, outcome = told_by(record.type)
    reason = _reasons.decode(record.data) if outcome in (FAILED, REFUSED) else _NO_REASON
    operation = reason.command or command
    activity_id = _activity(operation)
    status_id, status = _STATUSES.get(outcome, (_UNKNOWN, "Unknown"))
    caller, source, request = _caller(bytes(record.cause.actor))
    return Activity(
        activity_id=activity_id,
        activity_name=_NAMES[activity_id],
        type_uid=CLASS_UID * 100 + activity_id,
        severity_id=LOW if status_id == _FAILURE else INFORMATIONAL,
        time=record.clock_ns // _MILLISECOND_NS,
        status_id=status_id,
        status=status,
        status_detail=reason.error or reason.reason or outcome,
        metadata=Metadata(
            product=_PRODUCT,
            uid=f"{line.log}-{line.sequence}",
            log_name=line.log,
            sequence=line.sequence,
            event_code=record.type,
            correlation_uid=record.cause.correlation_id,
        ),
        actor=caller,
        src_endpoint=source,
        api=Api(
            operation=operation,
            service=_SERVICE,
            request=Uid(uid=record.cause.command_id or f"event-{line.sequence}"),
        ),
        http_request=request,
        resources=_resources(record.stream),
        unmapped=Unmapped(record=line.record, hash=line.hash),
    )


def position_of(content: bytes) -> Position:
    """Where an encoded event stands. Raises ValueError."""
    return position_of_id(_known.decode(content).metadata.uid)


@lru_cache(maxsize=1024)
def _activity(operation: str) -> int:
    """By the command's verb; what changes an object in another way is an update."""
    verb = operation.rpartition(".")[2]
    method = operation.partition(" ")[0]  # a request that was refused before it became a command
    by_method = {"POST": UPDATE, "PUT": UPDATE, "DELETE": DELETE}
    return by_method.get(method) or _ACTIVITIES.get(verb) or (OTHER if operation.startswith("system.") else UPDATE)


@lru_cache(maxsize=1024)
def _caller(encoded: bytes) -> tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw]:
    """Caller, endpoint and request of an actor, all encoded."""
    actor = msgspec.json.decode(encoded, type=Actor)
    user = User(uid="" if actor.uid is None else str(actor.uid), name=actor.subject)
    file = File(name=PurePosixPath(actor.executable).name, path=actor.executable) if actor.executable else None
    caller = Caller(
        user=user if user != User() else None,
        process=Process(pid=actor.pid, file=file) if actor.pid is not None else None,
        session=None if actor.login_uid is None else Session(uid=str(actor.login_uid)),
        app_name="" if actor.uid is not None or actor.subject else f"shiplogd ({actor.kind})",
    )
    return _encoded(caller), _encoded(_endpoint(actor.address)), _encoded(Request(user_agent=actor.user_agent))


def _endpoint(address: str) -> Endpoint:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        return Endpoint(ip=host.strip("[]"), port=int(port))
    return Endpoint(ip=address) if address else Endpoint(name="localhost")


@lru_cache(maxsize=4096)
def _resources(stream: str) -> msgspec.Raw:
    kind, _, key = stream.partition("/")
    return _encoded([Resource(uid=key, type=kind)])


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(value))


_PRODUCT: Final = _encoded(Product())
_SERVICE: Final = _encoded(Service())
_NO_REASON: Final = _Reason()
