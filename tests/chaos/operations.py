"""What the clients ask for: requests chosen at random, about few objects, so that they meet."""

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec

from tests.crashing.world import IMAGE
from tests.fakes.image_archives import docker_archive, layer, sample

NAMES = ("ann", "bob", "cid", "dot")
VOLUMES = ("vat", "vim")
TAGS = ("tap:1", "tip:1", "top:1")
REGISTRY = "{registry}"  # stands for the address of the engine's own
PULLED, PUSHED = f"{REGISTRY}/pulled:1", f"{REGISTRY}/pushed"
PORTS = (18081, 18082, 18083)
CODE = "code"  # the label that says with which code a container ends by itself
IN_REGISTRY = sample("bottom", "middle", "side")
OTHER = docker_archive(sample("bottom", "top", names=("other:1", "other:2")))
TREE = layer("etc/digits")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `{id}` in the path stands for the id that the request before it was answered with."""

    method: str
    path: str
    query: dict[str, str] = {}
    body: Any = None


Choice = random.Random
Maker = Callable[[Choice], tuple[Request, ...]]


def create(chance: Choice, name: str = "") -> Request:
    """A container that counts until it is stopped, or that ends by itself soon."""
    code = chance.randrange(1, 100)
    counts = f"trap 'exit {code}' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"
    ends = f"sleep {chance.choice(('0', '0.1', '0.3'))}; echo end; exit {code}"
    host: dict[str, Any] = {"NetworkMode": chance.choice(("none", "none", "bridge", "host"))}
    if host["NetworkMode"] == "bridge" and chance.random() < 0.6:
        host["PortBindings"] = {"80/tcp": [{"HostPort": chance.choice(("", *map(str, PORTS)))}]}
    if host["NetworkMode"] == "bridge" and chance.random() < 0.2:
        host["Links"] = [f"{chance.choice(NAMES)}:peer"]
    if chance.random() < 0.2:
        host["AutoRemove"] = True
    elif chance.random() < 0.1:
        host["RestartPolicy"] = {"Name": "on-failure", "MaximumRetryCount": 1}
    if chance.random() < 0.3:
        host["Binds"] = [f"{chance.choice(VOLUMES)}:/etc"]
    body: dict[str, Any] = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", chance.choice((counts, ends))],
        "Env": ["SECRET=value"],
        "Labels": {CODE: str(code)},
        "HostConfig": host,
        "StopTimeout": 1,
    }
    if chance.random() < 0.2:
        body["Volumes"] = {"/home": {}}
    return Request(method="POST", path="/containers/create", query={"name": name or chance.choice(NAMES)}, body=body)


def run(chance: Choice) -> tuple[Request, ...]:
    """Create and start."""
    return (create(chance), Request(method="POST", path="/containers/{id}/start"))


def execute(chance: Choice) -> tuple[Request, ...]:
    """A process that leaves a line, and ends."""
    body = {"Cmd": ["sh", "-c", f"echo ran >>/ran; sleep {chance.choice(('0', '0.2'))}; exit 7"]}
    return (
        Request(method="POST", path=f"/containers/{chance.choice(NAMES)}/exec", body=body),
        Request(method="POST", path="/exec/{id}/start", body={"Detach": True}),
    )


def _container(verb: str, **queries: tuple[str, ...]) -> Maker:
    """Something done to a container; each query parameter is one of several values, "" for none."""

    def make(chance: Choice) -> tuple[Request, ...]:
        query = {name: value for name, values in queries.items() if (value := chance.choice(values))}
        return (Request(method="POST", path=f"/containers/{chance.choice(NAMES)}/{verb}", query=query),)

    return make


def remove(chance: Choice) -> tuple[Request, ...]:
    """By force or not."""
    query = {"v": "1"} | ({"force": "1"} if chance.random() < 0.7 else {})
    return (Request(method="DELETE", path=f"/containers/{chance.choice(NAMES)}", query=query),)


def tag(chance: Choice) -> tuple[Request, ...]:
    """A name may move from one image to another."""
    repository, _, label = chance.choice(TAGS).partition(":")
    source = chance.choice((IMAGE, IMAGE, "other:1"))
    return (Request(method="POST", path=f"/images/{source}/tag", query={"repo": repository, "tag": label}),)


def untag(chance: Choice) -> tuple[Request, ...]:
    """Of names that were made; the last one of an image takes the image along."""
    name = chance.choice((*TAGS, "other:1", "other:2", "tree:1", "made:1", PULLED, f"{PUSHED}:1"))
    return (Request(method="DELETE", path=f"/images/{quote(name)}", query={"force": chance.choice(("0", "1"))}),)


def load(_: Choice) -> tuple[Request, ...]:
    """An archive with two names."""
    return (Request(method="POST", path="/images/load", body=OTHER),)


def import_tree(_: Choice) -> tuple[Request, ...]:
    """A file system without configuration."""
    return (
        Request(method="POST", path="/images/create", query={"fromSrc": "-", "repo": "tree", "tag": "1"}, body=TREE),
    )


def pull(_: Choice) -> tuple[Request, ...]:
    """From a registry beside the engine."""
    return (Request(method="POST", path="/images/create", query={"fromImage": f"{REGISTRY}/pulled", "tag": "1"}),)


def push(chance: Choice) -> tuple[Request, ...]:
    """To the same one, under a name that is made for it."""
    source = chance.choice((IMAGE, "other:1", "tree:1"))
    return (
        Request(method="POST", path=f"/images/{source}/tag", query={"repo": PUSHED, "tag": "1"}),
        Request(method="POST", path=f"/images/{PUSHED}/push", query={"tag": "1"}),
    )


def commit(chance: Choice) -> tuple[Request, ...]:
    """An image of a container, which is paused meanwhile."""
    query = {"container": chance.choice(NAMES), "repo": "made", "tag": "1"}
    return (Request(method="POST", path="/commit", query=query),)


def update(chance: Choice) -> tuple[Request, ...]:
    """Another share of the processors."""
    body = {"CpuShares": chance.choice((256, 512))}
    return (Request(method="POST", path=f"/containers/{chance.choice(NAMES)}/update", body=body),)


def put_archive(chance: Choice) -> tuple[Request, ...]:
    """Files into a container."""
    path = f"/containers/{chance.choice(NAMES)}/archive"
    return (Request(method="PUT", path=path, query={"path": "/tmp"}, body=TREE),)


def prune(chance: Choice) -> tuple[Request, ...]:
    """Images or volumes that nobody uses; containers that have ended are looked at later."""
    return (Request(method="POST", path=f"/{chance.choice(('images', 'volumes'))}/prune"),)


def make_volume(chance: Choice) -> tuple[Request, ...]:
    """The same name always has the same options: otherwise it could not be asked for again."""
    name = chance.choice(VOLUMES)
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"} if name == VOLUMES[0] else {}
    return (Request(method="POST", path="/volumes/create", body={"Name": name, "DriverOpts": options}),)


def remove_volume(chance: Choice) -> tuple[Request, ...]:
    """Refused while somebody has it."""
    return (Request(method="DELETE", path=f"/volumes/{chance.choice(VOLUMES)}"),)


KINDS: tuple[tuple[int, Maker], ...] = (
    (8, run),
    (3, lambda chance: (create(chance),)),
    (4, _container("start")),
    (4, _container("stop", t=("", "0"))),
    (3, _container("kill", signal=("", "TERM", "WINCH"))),
    (2, _container("restart", t=("0",))),
    (1, _container("pause")),
    (1, _container("unpause")),
    (3, _container("rename", name=NAMES)),
    (5, remove),
    (4, execute),
    (3, tag),
    (3, untag),
    (1, load),
    (1, import_tree),
    (2, pull),
    (1, push),
    (1, commit),
    (1, update),
    (1, put_archive),
    (1, prune),
    (2, make_volume),
    (2, remove_volume),
)


def choose(chance: Choice) -> tuple[Request, ...]:
    """What a client does next, request after request."""
    (make,) = chance.choices([maker for _, maker in KINDS], [weight for weight, _ in KINDS])
    return make(chance)
