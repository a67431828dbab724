"""What Docker's API has and this engine doesn't yet; without it a client would take a missing feature for a typo."""

from typing import Final

from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request
from events.errors import Unsupported

MISSING: Final = (
    ("GET", "/containers/{id:path}/attach/ws"),
    ("GET", "/containers/{id:path}/checkpoints"),
    ("POST", "/containers/{id:path}/checkpoints"),
    ("DELETE", "/containers/{id:path}/checkpoints/{checkpoint}"),
    ("POST", "/build/cancel"),
    ("POST", "/session"),
    ("POST", "/grpc"),
    ("PUT", "/volumes/{name:path}"),
    ("GET", "/plugins"),
    ("GET", "/plugins/privileges"),
    ("POST", "/plugins/pull"),
    ("POST", "/plugins/create"),
    ("GET", "/plugins/{name:path}/json"),
    ("POST", "/plugins/{name:path}/enable"),
    ("POST", "/plugins/{name:path}/disable"),
    ("POST", "/plugins/{name:path}/upgrade"),
    ("POST", "/plugins/{name:path}/push"),
    ("POST", "/plugins/{name:path}/set"),
    ("DELETE", "/plugins/{name:path}"),
    ("POST", "/swarm/init"),
    ("POST", "/swarm/join"),
)


async def refuse(engine: Engine, request: Request) -> Answer:
    """Any of them."""
    raise Unsupported(f"{request.method} {request.path} is not supported yet")
