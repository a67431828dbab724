"""What clients do with the files of containers."""

from tests.crashing.operation import Operation, one
from tests.crashing.subjects import is_untouched, running
from tests.crashing.world import IMAGE, World
from tests.fakes.tars import TarBuilder

ARCHIVE = TarBuilder().file("put", "put").bytes()


def _has_file(world: World) -> bool:
    changes = world.ask("GET", "/containers/web/changes").json or ()
    return is_untouched(world) and "/tmp/put" in {change["Path"] for change in changes}


def _has_image(world: World) -> bool:
    return "made:1" in {name for names in world.images().values() for name in names}


FILES = (
    Operation(
        name="put archive",
        prepare=running(),
        act=lambda world: (world.again("PUT", "/containers/web/archive?path=/tmp", ARCHIVE),),
        done=_has_file,
        undone=lambda world: is_untouched(world) and not _has_file(world),
        unknowable=True,
    ),
    Operation(
        name="commit",
        prepare=running(),
        act=one("POST", "/commit", container="web", repo="made", tag="1"),
        done=lambda world: is_untouched(world) and _has_image(world) and len(world.images()) == 2,
        undone=lambda world: is_untouched(world) and set(world.images().values()) == {(IMAGE,)},
    ),
)
