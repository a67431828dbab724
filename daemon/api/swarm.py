"""Swarm mode isn't there; its lists say so in the words that clients know."""

from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request
from events.errors import Unavailable


class NotAManager(Unavailable):
    """This engine is no part of a swarm."""

    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
            "to connect this node to swarm and try again."
        )


async def refuse(engine: Engine, request: Request) -> Answer:
    """Any endpoint that only a swarm's manager can answer."""
    raise NotAManager
