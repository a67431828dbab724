"""Events as OCSF 1.3 API Activity (class 6003), as security tools read them. Source: https://schema.ocsf.io/1.3.0/classes/api_activity"""

from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

import msgspec

from clients.audit.cloudevents import position_of_id
from clients.subscribe.position import Position
from events.codec import Record, decode_record
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
    product: Product = Product()
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
    service: Service = Service()
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
    """One event of class API Activity."""

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
    actor: Caller
    src_endpoint: Endpoint
    api: Api
    http_request: Request
    resources: tuple[Resource, ...]
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


_reasons = msgspec.json.Decoder(_Reason)
_known = msgspec.json.Decoder(_Known)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    """A line as an API Activity."""
    return _encoder.encode(activity(line))


def activity(line: Line) -> Activity:
    """What an event is in OCSF's words."""
    record = decode_record(bytes(line.record))
    command, outcome = told_by(record.type)
    reason = _reasons.decode(record.data) if outcome in (FAILED, REFUSED) else _Reason()
    operation = reason.command or command
    activity_id = _activity(operation)
    status_id, status = _STATUSES.get(outcome, (_UNKNOWN, "Unknown"))
    caller, source = _caller(record.cause.actor)
    return Activity(
        activity_id=activity_id,
        activity_name=_NAMES[activity_id],
        type_uid=CLASS_UID * 100 + activity_id,
        severity_id=LOW if status_id == _FAILURE else INFORMATIONAL,
        time=record.clock_ns // _MILLISECOND_NS,
        status_id=status_id,
        status=status,
        status_detail=reason.error or reason.reason or outcome,
        metadata=_metadata(line, record),
        actor=caller,
        src_endpoint=source,
        api=Api(operation=operation, request=Uid(uid=record.cause.command_id or f"event-{line.sequence}")),
        http_request=Request(user_agent=record.cause.actor.user_agent),
        resources=(_resource(record.stream),),
        unmapped=Unmapped(record=line.record, hash=line.hash),
    )


def position_of(content: bytes) -> Position:
    """Where an encoded event stands. Raises ValueError."""
    return position_of_id(_known.decode(content).metadata.uid)


def _metadata(line: Line, record: Record) -> Metadata:
    return Metadata(
        uid=f"{line.log}-{line.sequence}",
        log_name=line.log,
        sequence=line.sequence,
        event_code=record.type,
        correlation_uid=record.cause.correlation_id,
    )


@lru_cache(maxsize=1024)
def _activity(operation: str) -> int:
    """By the command's verb; what changes an object in another way is an update."""
    verb = operation.rpartition(".")[2]
    method = operation.partition(" ")[0]  # a request that was refused before it became a command
    by_method = {"POST": UPDATE, "PUT": UPDATE, "DELETE": DELETE}
    return by_method.get(method) or _ACTIVITIES.get(verb) or (OTHER if operation.startswith("system.") else UPDATE)


@lru_cache(maxsize=1024)
def _caller(actor: Actor) -> tuple[Caller, Endpoint]:
    user = User(uid="" if actor.uid is None else str(actor.uid), name=actor.subject)
    file = File(name=PurePosixPath(actor.executable).name, path=actor.executable) if actor.executable else None
    caller = Caller(
        user=user if user != User() else None,
        process=Process(pid=actor.pid, file=file) if actor.pid is not None else None,
        session=None if actor.login_uid is None else Session(uid=str(actor.login_uid)),
        app_name="" if actor.uid is not None or actor.subject else f"shiplogd ({actor.kind})",
    )
    host, _, port = actor.address.rpartition(":")
    if host and port.isdecimal():
        return caller, Endpoint(ip=host.strip("[]"), port=int(port))
    return caller, Endpoint(ip=actor.address) if actor.address else Endpoint(name="localhost")


@lru_cache(maxsize=4096)
def _resource(stream: str) -> Resource:
    kind, _, key = stream.partition("/")
    return Resource(uid=key, type=kind)
