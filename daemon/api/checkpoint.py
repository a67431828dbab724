"""A signed statement of where the log stands, for whoever keeps one elsewhere."""

from daemon.api.answers import as_json
from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request
from events.errors import Forbidden, SystemFailure


async def sign_checkpoint(engine: Engine, request: Request) -> Answer:
    """`POST /shiplog/checkpoint`: sign where the log stands now, and tell the key to check it with. For root alone."""
    if request.actor.kind != "unix" or request.actor.uid != 0:
        raise Forbidden("only root, on the unix socket, may have checkpoints signed")
    try:
        checkpoint = await engine.checkpoints.sign()
    except OSError as error:
        raise SystemFailure(f"the checkpoint can't be kept: {error}") from error
    return as_json({"checkpoint": checkpoint, "public_key": engine.checkpoints.public_key})
