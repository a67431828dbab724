"""Hands the keys of sealed values to another host, sealed to its public key, and says so in the log."""

import msgspec

from daemon.api.answers import as_json
from daemon.api.bodies import read_body
from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request
from events.envelope import Cause
from events.key_export import fingerprint, public_key, seal_keys
from events.log import Append
from events.messages.system import KeysExported

STREAM = "system/engine"


class ExportBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /shiplog/keys/export`: the X25519 public key (Base64) of who is to open it."""

    recipient: bytes


async def export_keys(engine: Engine, request: Request) -> Answer:
    """`POST /shiplog/keys/export`. It is in the log before anybody has it."""
    recipient = (await read_body(request, ExportBody)).recipient
    public_key(recipient)
    keys = await engine.keyring.export()
    command_id = engine.ids.new()
    cause = Cause(actor=request.actor, command_id=command_id, correlation_id=command_id)
    told = KeysExported(recipient=fingerprint(recipient), owners=len(keys))
    await engine.log.append((Append(stream=STREAM, events=(told,)),), cause=cause)
    return as_json(seal_keys(keys, recipient, log=engine.log.id, sequence=engine.log.head))
