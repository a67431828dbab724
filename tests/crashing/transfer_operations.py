"""What goes to and from a registry. Answers begin before they are known: their lines tell what came of it."""

import shutil

from handlers.images.create import INTERRUPTED as TOLD
from tests.clients.raw import Answer
from tests.crashing.object_operations import OTHER, named
from tests.crashing.operation import Operation
from tests.crashing.runs import INTERRUPTED
from tests.crashing.world import World
from tests.fakes.image_archives import sample
from tests.registries import DOCKER_MANIFEST


def outcome(answer: Answer) -> Answer:
    """The answer as if it had been given at the end."""
    refused = INTERRUPTED if TOLD.encode() in answer.body else 500
    status = refused if b'"errorDetail"' in answer.body else answer.status
    return Answer(status=status, headers={}, body=answer.body if status == 500 else b"")


def _pulled(world: World) -> str:
    return f"{world.registry.address}/pulled:1"


def _offer(world: World) -> None:
    world.registry.put_image("pulled:1", sample("bottom", "middle", "side"))


def _pull(world: World) -> tuple[Answer, ...]:
    name, _, tag = _pulled(world).rpartition(":")
    return (outcome(world.again("POST", "/images/create", fromImage=name, tag=tag)),)


def _pushed(world: World) -> str:
    return f"{world.registry.address}/pushed:1"


def _name_for_push(world: World) -> None:
    """The registry has no layer of it."""
    shutil.rmtree(world.registry.content, ignore_errors=True)
    world.ask("POST", "/images/load", OTHER)
    name, _, tag = _pushed(world).rpartition(":")
    world.ask("POST", "/images/other:1/tag", repo=name, tag=tag)
    for other in ("other:1", "other:2"):
        world.ask("DELETE", f"/images/{other}")


def _push(world: World) -> tuple[Answer, ...]:
    return (outcome(world.again("POST", f"/images/{world.registry.address}/pushed/push?tag=1")),)


def _has_arrived(world: World) -> bool:
    return world.registry.ask("GET", "pushed/manifests/1", accept=DOCKER_MANIFEST)[0] == 200


# A transfer is settled as cut off also where all but its last event was done: what it brought is there, whole.
TRANSFERS = (
    Operation(
        name="pull",
        prepare=_offer,
        act=_pull,
        done=lambda world: named(world, _pulled(world)),
        undone=named,
        unknowable=True,
    ),
    Operation(
        name="push",
        prepare=_name_for_push,
        act=_push,
        done=_has_arrived,
        undone=lambda world: not _has_arrived(world),
        unknowable=True,
    ),
)
