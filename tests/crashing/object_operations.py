"""What clients do to images and volumes."""

from tests.crashing.operation import Operation, one
from tests.crashing.world import IMAGE, World
from tests.fakes.image_archives import docker_archive, layer, sample

OTHER = docker_archive(sample("bottom", "top", names=("other:1", "other:2")))
TREE = layer("etc/digits")
VOLUME = {"Name": "data", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}  # options have a key


def named(world: World, *names: str) -> bool:
    """Whether exactly these names exist beside the one that is always there, and every image has one."""
    images = world.images()
    return all(images.values()) and {name for each in images.values() for name in each} == {IMAGE, *names}


def made_of(world: World, image: str, **name: str) -> str:
    """The id of an image that was committed upon another."""
    container = world.ask("POST", "/containers/create", {"Image": image, "Cmd": ["true"]}).json["Id"]
    image_id: str = world.ask("POST", "/commit", container=container, **name).json["Id"]
    world.ask("DELETE", f"/containers/{container}")
    return image_id


IMAGES = (
    Operation(
        name="load",
        act=lambda world: (world.again("POST", "/images/load", OTHER),),
        done=lambda world: named(world, "other:1", "other:2"),
        undone=named,
    ),
    Operation(
        name="import",
        act=lambda world: (world.again("POST", "/images/create", TREE, fromSrc="-", repo="imported", tag="1"),),
        done=lambda world: named(world, "imported:1") and len(world.images()) == 2,
        undone=named,
    ),
    Operation(
        name="tag",
        act=one("POST", f"/images/{IMAGE}/tag", repo="second", tag="1"),
        done=lambda world: named(world, "second:1"),
        undone=named,
    ),
    Operation(
        name="untag",
        prepare=lambda world: world.ask("POST", f"/images/{IMAGE}/tag", repo="second", tag="1"),
        act=one("DELETE", "/images/second:1"),
        done=named,
        undone=lambda world: named(world, "second:1"),
    ),
    Operation(
        name="rmi",
        prepare=lambda world: world.ask("POST", "/images/create", TREE, fromSrc="-", repo="imported", tag="1"),
        act=one("DELETE", "/images/imported:1"),
        done=named,
        undone=lambda world: named(world, "imported:1"),
    ),
    Operation(
        name="rmi with parents",
        prepare=lambda world: made_of(world, made_of(world, IMAGE), repo="line", tag="1"),
        act=one("DELETE", "/images/line:1"),
        done=lambda world: named(world) and len(world.images()) == 1,
        undone=lambda world: set(world.images().values()) == {(IMAGE,), (), ("line:1",)},
    ),
)

VOLUMES = (
    Operation(
        name="volume create",
        act=lambda world: (world.again("POST", "/volumes/create", VOLUME),),
        done=lambda world: world.volumes() == {"data"},
        undone=lambda world: not world.volumes(),
    ),
    Operation(
        name="volume rm",
        prepare=lambda world: world.ask("POST", "/volumes/create", VOLUME),
        act=one("DELETE", "/volumes/data"),
        done=lambda world: not world.volumes(),
        undone=lambda world: world.volumes() == {"data"},
    ),
)
