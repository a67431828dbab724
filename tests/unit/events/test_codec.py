"""Bytes and back, and what happens to events from other versions of the engine."""

from typing import Any, ClassVar

import msgspec
import pytest

from events import codec
from events.base import Command, Event
from events.envelope import ENGINE, Cause
from events.log import LogBroken
from events.messages import container
from events.messages.container import ContainerAccessed, ContainerCreateRequested, CreateContainer
from events.messages.network import NetworkReconfigured
from events.sealed import Sealed


class Unlisted(Event, frozen=True, kw_only=True):
    """An event that no module of messages defines."""

    TYPE: ClassVar[str] = "test.unlisted"


def test_tables_know_every_message() -> None:
    assert codec.EVENTS["container.create_requested"] is ContainerCreateRequested
    assert codec.COMMANDS["container.create"] is CreateContainer
    for table, kind in ((codec.EVENTS, Event), (codec.COMMANDS, Command)):
        defined = {c for m in codec.MODULES for c in vars(m).values() if isinstance(c, type) and issubclass(c, kind)}
        assert set(table.values()) == {c for c in defined if "TYPE" in vars(c)}
        assert all(message.TYPE == tag for tag, message in table.items())


def test_a_tag_names_one_class() -> None:
    with pytest.raises(ValueError, match=r"container\.\w+ names both"):
        codec.by_tag(Event, (container, container))


def test_an_event_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(LogBroken, match=r"test\.unlisted"):
        codec.encode_event(Unlisted())


def test_equal_events_give_equal_bytes() -> None:
    one = ContainerAccessed(container_id="a", action="top", attributes={"a": "1", "b": "2"})
    other = ContainerAccessed(container_id="a", action="top", attributes={"b": "2", "a": "1"})
    assert one == other
    expected = b'{"container_id":"a","action":"top","attributes":{"a":"1","b":"2"}}'
    assert codec.encode_event(one) == codec.encode_event(other) == expected


def test_sealed_bytes_are_base64() -> None:
    sealed = Sealed(owner="container/a", nonce=b"\x00\x01", ciphertext=b"\xff")
    event = ContainerCreateRequested(
        container_id="a",
        name="web",
        image_id="sha256:b",
        image_reference="busybox",
        config=container.ContainerConfig(),
        host=container.HostConfig(),
        secrets=sealed,
    )
    data = codec.encode_event(event)
    assert b'"secrets":{"owner":"container/a","nonce":"AAE=","ciphertext":"/w=="}' in data
    assert codec.decode_event(event.TYPE, 1, data) == event


def test_unknown_types_and_newer_schemas_are_named() -> None:
    with pytest.raises(LogBroken, match=r"container\.unheard_of is unknown"):
        codec.decode_event("container.unheard_of", 1, b"{}")
    with pytest.raises(LogBroken, match=r"container\.created has schema 2, this engine knows 1"):
        codec.decode_event("container.created", 2, b"{}")


def test_fields_that_do_not_fit_are_named() -> None:
    with pytest.raises(LogBroken, match=r"container\.created.*container_id"):
        codec.decode_event("container.created", 1, b'{"container_id":7}')
    with pytest.raises(LogBroken, match=r"container\.created.*can't be read"):
        codec.decode_event("container.created", 1, b'{"container_id"')


def test_old_schemas_are_lifted_step_by_step() -> None:
    def from_minus_one(fields: dict[str, Any]) -> dict[str, Any]:
        return {"network_id": fields["id"], "subnet": fields["subnet"]}

    def from_zero(fields: dict[str, Any]) -> dict[str, Any]:
        return {"network_id": fields["network_id"], "subnets": [{"subnet": fields["subnet"]}], "options": {}}

    tag = NetworkReconfigured.TYPE
    upcasts = {(tag, -1): from_minus_one, (tag, 0): from_zero}
    lifted = codec.decode_event(tag, -1, b'{"id":"n","subnet":"10.0.0.0/8"}', upcasts)
    assert isinstance(lifted, NetworkReconfigured)
    assert (lifted.network_id, lifted.subnets[0].subnet) == ("n", "10.0.0.0/8")
    with pytest.raises(LogBroken, match="has schema 0, which this engine can't read any more"):
        codec.decode_event(tag, -1, b'{"id":"n","subnet":"10.0.0.0/8"}', {(tag, -1): from_minus_one})


def test_a_record_keeps_all_that_is_authoritative() -> None:
    record = codec.Record(
        sequence=7,
        time_ns=8,
        clock_ns=9,
        stream="container/a",
        version=2,
        type="container.created",
        schema=1,
        data=msgspec.Raw(b'{"container_id":"a"}'),
        cause=Cause(actor=ENGINE, command_id="c", correlation_id="r", causation=6),
        take=("name/web",),
        reply=codec.checked_json(b' {"sequence": 7} '),
    )
    stored = codec.encode_record(record)
    assert codec.encode_record(codec.decode_record(stored)) == stored
    read = codec.recorded(stored, b"hash")
    assert (read.sequence, read.version, read.cause.causation, read.hash) == (7, 2, 6, b"hash")
    assert read.reply == b'{"sequence": 7}'
    with pytest.raises(LogBroken, match="can't be read"):
        codec.decode_record(stored[:-2])
