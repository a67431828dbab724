"""Events as OCSF 1.3 API Activity (class 6003), as security tools read them. Source: https://schema.ocsf.io/1.3.0/classes/api_activity"""

from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

import msgspec

from clients.audit.cloudevents import json_text, position_of_id
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


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked."""

    name: str = "shiplog"


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The client's own word."""

    user_agent: str = ""


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What many events of class API Activity have in common; `encode` adds what each has for itself."""

    activity_id: int
    activity_name: str
    category_uid: int = CATEGORY_UID
    category_name: str = "Application Activity"
    class_uid: int = CLASS_UID
    class_name: str = "API Activity"
    type_uid: int
    severity_id: int
    status_id: int
    status: str
    status_detail: str
    actor: Caller
    src_endpoint: Endpoint
    http_request: Request


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


class _Cause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who, and under which ids; left as JSON."""

    actor: msgspec.Raw
    command_id: msgspec.Raw
    correlation_id: msgspec.Raw


class _Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What of a record is told; the stream is left as JSON."""

    clock_ns: int
    stream: msgspec.Raw
    type: str
    cause: _Cause


class _Failed(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record only failures tell."""

    data: msgspec.Raw


class _Common(msgspec.Struct, frozen=True):
    """What events of one type, caller and reason have in common, as JSON up to where each has something of its own."""

    activity: bytes
    api: bytes
    event_code: bytes
    is_failure: bool


_records = msgspec.json.Decoder(_Record)
_failed = msgspec.json.Decoder(_Failed)
_reasons = msgspec.json.Decoder(_Reason)
_known = msgspec.json.Decoder(_Known)
_encoder = msgspec.json.Encoder()
_PRODUCT: Final = _encoder.encode(Product())
_SERVICE: Final = _encoder.encode(Service())
_NO_REASON, _NO_REQUEST = b"{}", b'""'


def encode(line: Line) -> bytes:
    """A line as an API Activity; what OCSF has no place for (secrets sealed) and the chain's hash are in `unmapped`."""
    record = _records.decode(line.record)
    cause = record.cause
    common = _common(record.type, bytes(cause.actor), _NO_REASON)
    if common.is_failure:
        common = _common(record.type, bytes(cause.actor), bytes(_failed.decode(line.record).data))
    kind, _, key = bytes(record.stream)[1:-1].partition(b"/")
    identity, name = _log(line.log)
    sequence, request = b"%d" % line.sequence, bytes(cause.command_id)
    return b"".join(
        (
            common.activity,
            b',"resources":[{"uid":"%b","type":"%b"}],"time":%d' % (key, kind, record.clock_ns // _MILLISECOND_NS),
            common.api,
            request if request != _NO_REQUEST else b'"event-%b"' % sequence,
            identity,
            sequence,
            name,
            sequence,
            common.event_code,
            cause.correlation_id,
            b'},"unmapped":{"record":',
            line.record,
            b',"hash":"',
            line.hash.encode(),
            b'"}}',
        )
    )


@lru_cache(maxsize=64)
def _log(log: str) -> tuple[bytes, bytes]:
    """What stands before an event's sequence in its `uid`, and between that and its `sequence`."""
    name = json_text(log)
    identity = b'}},"metadata":{"version":"1.3.0","product":%b,"uid":"%b-' % (_PRODUCT, name)
    return identity, b'","log_name":"%b","sequence":' % name


@lru_cache(maxsize=4096)
def _common(tag: str, actor: bytes, reasons: bytes) -> _Common:
    """By what events have in common: type, caller, and the reason of a failure."""
    command, outcome = told_by(tag)
    reason = _reasons.decode(reasons)
    operation = reason.command or command
    activity_id = _activity(operation)
    status_id, status = _STATUSES.get(outcome, (_UNKNOWN, "Unknown"))
    called = msgspec.json.decode(actor, type=Actor)
    activity = Activity(
        activity_id=activity_id,
        activity_name=_NAMES[activity_id],
        type_uid=CLASS_UID * 100 + activity_id,
        severity_id=LOW if status_id == _FAILURE else INFORMATIONAL,
        status_id=status_id,
        status=status,
        status_detail=reason.error or reason.reason or outcome,
        actor=_caller(called),
        src_endpoint=_endpoint(called.address),
        http_request=Request(user_agent=called.user_agent),
    )
    return _Common(
        activity=_encoder.encode(activity)[:-1],
        api=b',"api":{"operation":%b,"service":%b,"request":{"uid":' % (_encoder.encode(operation), _SERVICE),
        event_code=b',"event_code":%b,"correlation_uid":' % _encoder.encode(tag),
        is_failure=status_id == _FAILURE,
    )


def position_of(content: bytes) -> Position:
    """Where an encoded event stands. Raises ValueError."""
    return position_of_id(_known.decode(content).metadata.uid)


def _activity(operation: str) -> int:
    """By the command's verb; what changes an object in another way is an update."""
    verb = operation.rpartition(".")[2]
    method = operation.partition(" ")[0]  # a request that was refused before it became a command
    by_method = {"POST": UPDATE, "PUT": UPDATE, "DELETE": DELETE}
    return by_method.get(method) or _ACTIVITIES.get(verb) or (OTHER if operation.startswith("system.") else UPDATE)


def _caller(actor: Actor) -> Caller:
    user = User(uid="" if actor.uid is None else str(actor.uid), name=actor.subject)
    file = File(name=PurePosixPath(actor.executable).name, path=actor.executable) if actor.executable else None
    return Caller(
        user=user if user != User() else None,
        process=Process(pid=actor.pid, file=file) if actor.pid is not None else None,
        session=None if actor.login_uid is None else Session(uid=str(actor.login_uid)),
        app_name="" if actor.uid is not None or actor.subject else f"shiplogd ({actor.kind})",
    )


def _endpoint(address: str) -> Endpoint:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        return Endpoint(ip=host.strip("[]"), port=int(port))
    return Endpoint(ip=address) if address else Endpoint(name="localhost")
