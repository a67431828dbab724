"""The endpoint that changes a container's limits and restart policy, also while it runs."""

from typing import Final

import msgspec

from daemon.api.answers import as_json
from daemon.api.bodies import read_body
from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request
from events.base import docker_name
from events.messages import container as m

_ACTED_ON: Final = frozenset(m.Changes.__struct_fields__)
_NAMES: Final = {"": "UpdateConfig"}


async def update_container(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/update`; what an update can't change is named in the warnings."""
    body = await read_body(request, m.HostConfig, go_names=_NAMES)
    changes = m.Changes(**{name: getattr(body, name) for name in _ACTED_ON})
    if request.version < (1, 40):
        changes = msgspec.structs.replace(changes, pids_limit=None)
    command = m.UpdateContainer(container=request.parameters["id"], changes=changes)
    updated, headers = await send(engine, request, command)
    return as_json({"Warnings": [*updated.warnings, *_left_out(body)] or None}, 200, headers)


def _left_out(body: m.HostConfig) -> list[str]:
    default = m.HostConfig()
    names = (name for name in m.HostConfig.__struct_fields__ if name not in _ACTED_ON)
    return [
        f"{docker_name(name)} can't be changed by an update: discarded"
        for name in names
        if getattr(body, name) not in (getattr(default, name), None)
    ]
