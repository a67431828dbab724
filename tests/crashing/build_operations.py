"""Builds. Their answers begin before they are known; images of steps that were done stay, for the next try."""

from tests.archives import context_tar
from tests.crashing.operation import Operation
from tests.crashing.transfer_operations import outcome
from tests.crashing.world import BYSTANDER, IMAGE, World

STEPS = f"FROM {IMAGE}\nENV A=b\nCOPY f /d/\nRUN echo x >/x\nWORKDIR /w\n"


def _names(world: World) -> set[str]:
    return {name for names in world.images().values() for name in names} - {IMAGE}


def _containers(world: World) -> frozenset[str]:
    return world.names() - {BYSTANDER}


BUILDS = (
    Operation(
        name="build",
        act=lambda world: (outcome(world.again("POST", "/build", context_tar(STEPS, {"f": "f"}), t="built:1")),),
        done=lambda world: _names(world) == {"built:1"} and not _containers(world),
        undone=lambda world: not _names(world) and not _containers(world),
        unknowable=True,
    ),
)
