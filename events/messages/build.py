"""Everything that can be asked of the builder and everything that can happen to a build.

What its steps do to containers, layers and images is told by these themselves; an image that has come of a step says
upon which other it stands.
"""

from typing import ClassVar

import msgspec

from events.base import Command, Event
from events.messages.container import Ulimit
from events.messages.image import Credentials


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the containers of a build may use; 0 and "" are no limit. Bytes and microseconds."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cgroup_parent: str = ""
    shm_size: int = 0
    ulimits: tuple[Ulimit, ...] = ()


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of BuildImage."""

    image_id: str


class BuildImage(Command[BuiltImage], frozen=True, kw_only=True):
    """Make an image by the instructions of a Dockerfile.

    It ends when the last of those who follow its progress has left.
    """

    TYPE: ClassVar[str] = "build.build"
    context: str = ""  # path of a file with the context as a tar (plain or compressed), or with a lone Dockerfile
    remote: str = ""  # where the context comes from otherwise: a tar or a Dockerfile by http(s)
    dockerfile: str = "Dockerfile"  # within the context
    tags: tuple[str, ...] = ()  # canonical
    arguments: dict[str, str | None] = {}  # None: named without a value
    labels: dict[str, str] = {}
    target: str = ""  # name or number of the stage that is wanted; "": the last
    platform: str = ""
    uses_cache: bool = True
    cache_from: tuple[str, ...] = ()  # images that steps may be taken from
    pulls: bool = False  # ask registries for newer base images
    is_quiet: bool = False
    removes: bool = True  # intermediate containers, after success
    force_removes: bool = False  # after failure too
    network_mode: str = ""
    extra_hosts: tuple[str, ...] = ()
    limits: Limits = Limits()
    credentials: dict[str, Credentials] = {}  # by registry, as X-Registry-Config has them; never in an event


class BuildRequested(Event, frozen=True, kw_only=True):
    """Intent: a context lies in a directory of the build's own, and steps follow."""

    TYPE: ClassVar[str] = "build.requested"
    build_id: str
    tags: tuple[str, ...]  # canonical
    dockerfile: str
    target: str
    remote: str  # without a user and a password


class BuildSucceeded(Event, frozen=True, kw_only=True):
    """The image is there and has its names."""

    TYPE: ClassVar[str] = "build.succeeded"
    build_id: str
    image_id: str


class BuildFailed(Event, frozen=True, kw_only=True):
    """It was given up. Images of steps that were done stay, for the next try."""

    TYPE: ClassVar[str] = "build.failed"
    build_id: str
    error: str
