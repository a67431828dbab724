"""The log for auditors: entries with filters, exports that fit their schemas and go on where they stand, bad inputs."""

import io
import json
import shutil
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import anyio
import fastjsonschema
import msgspec
import pytest
from anyio import wait_all_tasks_blocked
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from ocsf.v1_3_0.events import ApiActivity
from pydantic import BaseModel

from clients.audit.entries import Entry, Wanted, entries
from clients.audit.export import HANDED_EVENTS, WAITING, StreamSink, export
from clients.audit.formats import FORMATS, format_named
from clients.audit.nats_sink import nats_sink
from clients.audit.sources import open_source
from clients.errors import LogChanged, SinkFailed, Unusable
from clients.subscribe.file_sink import FileSink
from clients.subscribe.filters import Filters
from events.codec import EVENTS
from events.envelope import ENGINE, RECOVERY, Actor, Cause
from events.lines import Line, lines, read_line
from events.log import Append
from events.memory_log import MemoryLog
from events.messages import container as c
from events.messages import system as s
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock
from tests.nats_servers import connected, server, stored_ids
from tests.unit.clients.served import served
from tests.unit.events.examples import example

# Attributes of the class that the models keep beside their fields; the validator checks them.
PLACED_BY_CLASS = {
    f"ApiActivity.{name}" for name in ("category_name", "category_uid", "class_name", "class_uid", "time", "type_uid")
}
SCHEMAS = Path(__file__).parent / "schemas"
ANN = Actor(kind="unix", uid=1000, gid=1000, pid=7, executable="/usr/bin/docker", user_agent="Docker-Client/28")
BOB = Actor(kind="tls", subject="CN=bob", address="10.0.0.9:4711")


def validator(name: str):
    return fastjsonschema.compile(json.loads((SCHEMAS / name).read_text()))


async def every_event() -> list[Line]:
    """A line for every type of event, by callers of every kind."""
    log = MemoryLog(SetClock())
    callers = (
        ANN,
        BOB,
        ENGINE,
        RECOVERY,
        Actor(kind="tcp", address="[::1]:80"),
        Actor(kind="unix", uid=0, login_uid=5),
    )
    for number, event in enumerate(map(example, EVENTS.values())):
        cause = Cause(actor=callers[number % len(callers)], command_id=str(number), correlation_id="r")
        await log.append((Append(stream=f"{event.TYPE.partition('.')[0]}/x", events=(event,)),), cause=cause)
    return [read_line(line) for line in lines(log.id, await log.stored(0, 1000))]


# ---- formats


async def test_cloudevents_fit_their_schema_and_the_sdk_of_its_authors():
    check, sdk = validator("cloudevents-1.0.json"), JSONFormat()
    for line in await every_event():
        told = json.loads(FORMATS["cloudevents"].encode(line))
        check(told)
        read = sdk.read(CloudEvent, FORMATS["cloudevents"].encode(line))
        assert (read.get_id(), read.get_subject()) == (told["id"], line.content.stream)
        assert told["id"] == f"{line.log}-{line.sequence}"
        assert told["data"] == json.loads(bytes(line.record))
        assert told["time"] == "2023-11-14T22:13:20.000000000Z"


async def test_ocsf_fits_its_schema_and_models_made_of_the_published_one():
    check = validator("ocsf-1.3.0-api_activity.json")
    for line in await every_event():
        told = json.loads(FORMATS["ocsf"].encode(line))
        check(told)
        assert foreign(ApiActivity.model_validate(told)) == set()
        assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]
        assert told["unmapped"]["record"] == json.loads(bytes(line.record))


def foreign(model: BaseModel) -> set[str]:
    """Attributes that the published schema doesn't have, at any depth; `unmapped` is the place for any."""
    found = {f"{type(model).__name__}.{name}" for name in model.model_extra or {}} - PLACED_BY_CLASS
    for name in type(model).model_fields.keys() - {"unmapped"}:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            found |= foreign(each) if isinstance(each, BaseModel) else set()
    return found


def test_schemas_refuse_what_they_should():
    for name, told in (("cloudevents-1.0.json", {"id": "1"}), ("ocsf-1.3.0-api_activity.json", {"class_uid": 6003})):
        with pytest.raises(fastjsonschema.JsonSchemaException):
            validator(name)(told)


async def test_ocsf_words():
    log = MemoryLog(SetClock())
    refused = s.CommandRefused(command="container.start", target="web", kind="not_found", reason="No such container")
    events = (
        (ANN, c.ContainerRemoved(container_id="a")),
        (BOB, refused),
        (ENGINE, c.ContainerStartRequested(container_id="a", run=1)),
    )
    for actor, event in events:
        cause = Cause(actor=actor, command_id="1", correlation_id="1")
        await log.append((Append(stream="container/a", events=(event,)),), cause=cause)
    removed, failed, asked = (
        json.loads(FORMATS["ocsf"].encode(read_line(line))) for line in lines(log.id, await log.stored(0, 9))
    )
    assert (removed["activity_name"], removed["status"], removed["api"]["operation"]) == (
        "Delete",
        "Success",
        "container.remove",
    )
    assert removed["actor"]["process"] == {
        "pid": 7,
        "file": {"name": "docker", "path": "/usr/bin/docker", "type_id": 1},
    }
    assert (failed["status"], failed["status_detail"], failed["severity_id"]) == ("Failure", "No such container", 2)
    assert failed["api"]["operation"] == "container.start"
    assert failed["src_endpoint"] == {"ip": "10.0.0.9", "port": 4711}
    assert (asked["status"], asked["actor"]) == ("Requested", {"app_name": "shiplogd (engine)"})


async def test_ocsf_of_any_object_and_of_what_no_command_led_to():
    log = MemoryLog(SetClock())
    for stream in ("engine", 'volume/a"b\\c/d \u00e9\u2028'):
        cause = Cause(actor=ENGINE, command_id="", correlation_id="")
        event = c.ContainerStartRequested(container_id="a", run=1)
        await log.append((Append(stream=stream, events=(event,)),), cause=cause)
    engine, volume = (
        json.loads(FORMATS["ocsf"].encode(read_line(line))) for line in lines(log.id, await log.stored(0, 9))
    )
    assert engine["resources"] == [{"uid": "", "type": "engine"}]
    assert volume["resources"] == [{"uid": 'a"b\\c/d \u00e9\u2028', "type": "volume"}]
    assert [told["api"]["request"]["uid"] for told in (engine, volume)] == ["event-1", "event-2"]


async def test_positions_are_found_again_in_every_format():
    for line in (await every_event())[:5]:
        for form in FORMATS.values():
            position = form.position_of(form.encode(line))
            assert (position.log, position.sequence) == (line.log, line.sequence)
            with pytest.raises((ValueError, msgspec.MsgspecError)):
                form.position_of(b'{"x":1}')


def test_a_format_that_there_is_not():
    with pytest.raises(Unusable, match="there are jsonl, cloudevents, ocsf"):
        format_named("csv")


# ---- sources that are no good


async def database(directory: Path, count: int = 20) -> Path:
    """The files of a log."""
    async with SqliteLog.open(directory, SetClock()) as log:
        for number in range(count):
            cause = Cause(actor=ANN, command_id=str(number), correlation_id=str(number))
            event = c.ContainerAccessed(container_id="a", action=f"look {number}")
            await log.append((Append(stream="container/a", events=(event,)),), cause=cause)
    return directory


async def read_all(where: Path | str) -> list[int]:
    async with open_source(where) as source:
        return [line.sequence async for batch in source.batches() for line in batch]


async def test_foreign_and_damaged_files_are_told_apart(tmp_path):
    directory = await database(tmp_path / "log")
    (file,) = directory.glob("log-*.sqlite")
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "none").mkdir()
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(file.read_bytes()[:4096] + b"x" * 9000)
    for where, text in (
        (tmp_path / "absent", "can't be read"),
        (tmp_path / "text", "neither a log file nor exported lines"),
        (tmp_path / "empty", "holds no events"),
        (tmp_path / "none", "has no log files"),
        (damaged, "is no log that this version can read, or is damaged"),
    ):
        before = where.read_bytes() if where.is_file() else b""
        with pytest.raises(Unusable, match=text):
            await read_all(where)
        assert not where.is_file() or where.read_bytes() == before


async def test_lines_that_were_changed_are_found(tmp_path):
    path = tmp_path / "lines"
    async with open_source(await database(tmp_path / "log")) as source:
        with FileSink(path) as sink:
            await export(source, sink)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"look 7", b"look 8"))
    with pytest.raises(Unusable, match="event 8 does not fit the hash chain"):
        await read_all(path)
    path.write_bytes(content.partition(b"\n")[2])
    with pytest.raises(Unusable, match="begins with event 2"):
        await read_all(path)
    gap = content.splitlines(keepends=True)
    path.write_bytes(b"".join(gap[:3] + gap[4:]))
    with pytest.raises(Unusable, match="event 4 is missing"):
        await read_all(path)
    newer = content.replace(b'"schema":1', b'"schema":9', 1)
    path.write_bytes(newer)
    with pytest.raises(Unusable, match="does not fit the hash chain"):
        await read_all(path)


async def test_every_source_gives_the_same(tmp_path):
    directory = await database(tmp_path / "log")
    (file,) = directory.glob("log-*.sqlite")
    elsewhere = Path(shutil.copy(file, tmp_path / "copy.db"))
    path = tmp_path / "lines"
    async with open_source(directory) as source:
        with FileSink(path) as sink:
            assert await export(source, sink) == 20
    assert await read_all(directory) == await read_all(elsewhere) == await read_all(path) == list(range(1, 21))
    async with served() as engine:
        await engine.tell(1200)
        assert await read_all(engine.host) == list(range(1, 1201))


# ---- exports


def full_disk() -> io.FileIO:
    return io.FileIO("/dev/full", "wb")


@pytest.mark.parametrize("name", list(FORMATS))
async def test_an_export_goes_on_where_it_stands(tmp_path, name):
    form, path = FORMATS[name], tmp_path / "out"
    async with served() as engine:
        for count in (5, 600, 1):
            await engine.tell(count)
            async with open_source(engine.host) as source:
                with FileSink(path, form.encode, form.position_of) as sink:
                    assert await export(source, sink) == engine.story.log.head
    found = [form.position_of(line).sequence for line in path.read_bytes().splitlines()]
    assert found == list(range(1, 607))


async def test_an_export_refuses_what_the_log_does_not_have(tmp_path):
    async with open_source(await database(tmp_path / "log")) as source:
        nowhere = StreamSink(io.BytesIO(), FORMATS["jsonl"])
        for first, last in ((0, None), (22, None), (1, 21)):
            with pytest.raises(Unusable, match="is not in the log, which ends with event 20"):
                await export(source, nowhere, first=first, last=last)
    other = tmp_path / "out"
    async with open_source(await database(tmp_path / "second")) as source:
        with FileSink(other) as sink:
            await export(source, sink)
    before = other.read_bytes()
    async with open_source(tmp_path / "log") as source:
        with FileSink(other) as sink, pytest.raises(LogChanged, match="choose another output"):
            await export(source, sink)
    assert other.read_bytes() == before


async def test_an_export_to_a_stream_with_filters(tmp_path):
    async with open_source(await database(tmp_path / "log")) as source:
        output = io.BytesIO()
        sink = StreamSink(output, FORMATS["jsonl"])
        assert await export(source, sink, first=3, last=5, filters=Filters(types=("container.*",))) == 5
        assert [read_line(line).sequence for line in output.getvalue().splitlines()] == [3, 4, 5]

        with full_disk() as full, pytest.raises(SinkFailed, match="No space left"):
            await export(source, StreamSink(full, FORMATS["jsonl"]))


class Pages:
    """A source that counts what is read of it."""

    log, last = "a", 40 * HANDED_EVENTS

    def __init__(self) -> None:
        self.read = 0

    async def batches(self, after: int = 0, last: int | None = None) -> AsyncGenerator[list[Line]]:
        for first in range(after + 1, (last or self.last) + 1, HANDED_EVENTS):
            self.read += 1
            numbers = range(first, first + HANDED_EVENTS)
            yield [Line(log=self.log, sequence=number, hash="", record=msgspec.Raw(b"")) for number in numbers]


class HeldSink:
    """Takes nothing until it is let."""

    def __init__(self) -> None:
        self.let = anyio.Event()
        self.taken: list[list[int]] = []

    async def position(self) -> None:
        return None

    async def write(self, lines: Sequence[Line]) -> None:
        self.taken.append([line.sequence for line in lines])
        await self.let.wait()


async def test_a_slow_sink_takes_what_was_read_meanwhile_together_and_that_is_bounded():
    source, sink = Pages(), HeldSink()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(export, source, sink)
        await wait_all_tasks_blocked()
        assert [len(each) for each in sink.taken] == [HANDED_EVENTS]
        assert source.read == 1 + WAITING + 1
        sink.let.set()
    assert len(sink.taken[1]) == (WAITING + 1) * HANDED_EVENTS
    assert [number for each in sink.taken for number in each] == list(range(1, source.last + 1))


async def test_an_export_to_a_nats_subject(tmp_path):
    form = FORMATS["cloudevents"]
    directory = await database(tmp_path / "log")
    async with server(tmp_path / "nats") as nats_server, connected(nats_server.url) as client:
        with pytest.raises(SinkFailed, match="no JetStream stream keeps the subject audit"):
            async with nats_sink([nats_server.url], "audit", form):
                pass
        await client.jetstream().add_stream(name="AUDIT", subjects=["audit"])
        for last in (7, 20):
            async with nats_sink([nats_server.url], "audit", form) as sink, open_source(directory) as source:
                assert await export(source, sink, last=last) == last
        async with open_source(directory) as source:
            assert await stored_ids(client, "AUDIT") == [f"{source.log}-{number}" for number in range(1, 21)]
    with pytest.raises(SinkFailed, match="no NATS server answers"):
        async with nats_sink(["nats://127.0.0.1:1"], "audit", form):
            pass


# ---- entries


async def history() -> list[Line]:
    """Ann's start with a step, Bob's refused one, an open stop, and what the engine does by itself."""
    log = MemoryLog(SetClock())

    async def tell(actor: Actor, command_id: str, stream: str, *events, reply: bytes | None = None) -> None:
        cause = Cause(actor=actor, command_id=command_id, correlation_id=command_id)
        await log.append((Append(stream=stream, events=events),), cause=cause, reply=reply)

    web = "container/" + "a" * 64
    await tell(ANN, "name", web, c.ContainerRenamed(container_id="a", old_name="x", name="web"), reply=b"{}")
    await tell(ANN, "start", web, c.ContainerStartRequested(container_id="a", run=1))
    await tell(ANN, "start.1", "image/sha256:1", EVENTS["image.acquired"](image_id="1", container_id="a"))
    await tell(ANN, "start", web, c.ContainerStarted(container_id="a", pid=1, started_at_ns=1), reply=b"{}")
    refused = s.CommandRefused(command="container.start", target="x", kind="conflict", reason="taken")
    await tell(BOB, "again", "command/again", refused, reply=b"{}")
    failed = c.ContainerStartFailed(container_id="a", exit_code=127, error="no such file")
    await tell(BOB, "bad", web, c.ContainerStartRequested(container_id="a", run=2))
    await tell(BOB, "bad", web, failed, reply=b"{}")
    await tell(ENGINE, "p.1", "image/sha256:1", EVENTS["image.released"](image_id="1", container_id="a"))
    await tell(ENGINE, "p", web, c.ContainerDied(container_id="a", exit_code=0, run_s=1))
    await tell(ANN, "stop", web, c.ContainerStopRequested(container_id="a", timeout_s=1, signal=15))
    return [read_line(line) for line in lines(log.id, await log.stored(0, 100))]


async def listed(wanted: Wanted | None = None) -> list[Entry]:
    async def batches():
        yield await history()

    return [entry async for entry in entries(batches(), wanted)]


async def test_an_entry_for_every_command():
    found = await listed()
    assert [(entry.command, entry.outcome) for entry in found] == [
        ("container.rename", "done"),
        ("container.start", "done"),
        ("container.start", "refused"),
        ("container.start", "failed"),
        ("container.settle_exit", "done"),
        ("container.stop", "requested"),
    ]
    start = found[1]
    assert (start.first, start.last, start.caller) == (2, 4, ANN)
    assert start.objects == ("container/" + "a" * 64, "image/sha256:1")
    assert found[4].objects == start.objects  # what the command is about comes first, whatever happened first
    assert start.names == ("web",)
    assert [entry.reason for entry in found[2:4]] == ["taken", "no such file"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(callers=("CN=bob",)), [5, 6]),
        (Wanted(callers=("docker",), commands=("start",)), [2]),
        (Wanted(outcomes=("failed", "refused")), [5, 6]),
        (Wanted(objects=("web",), commands=("container.st*",)), [2, 6, 10]),
        (Wanted(objects=("a" * 12,), outcomes=("requested",)), [10]),
        (Wanted(objects=("image/sha256:1",)), [2, 8]),
        (Wanted(callers=("nobody",)), []),
    ],
)
async def test_filters_on_entries(wanted, expected):
    assert [entry.first for entry in await listed(wanted)] == expected


async def test_an_outcome_that_there_is_not():
    with pytest.raises(Unusable, match="there are requested, done, failed, refused"):
        await listed(Wanted(outcomes=("good",)))
