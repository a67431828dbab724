"""Request bodies as structs, with the names that Docker's error messages use."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import msgspec
from anyio import to_thread

from daemon.http.json import decode_body
from daemon.http.messages import Request
from events.base import docker_name
from events.messages.container import ContainerConfig, EndpointConfig, HostConfig

Body = TypeVar("Body")

_QUICK_BYTES: Final = 64 * 1024
_LIST_OR_STRING: Final = frozenset({"Cmd", "Entrypoint", "Shell"})
_CREATE_NAMES: Final = {
    "": "CreateRequest.Config",
    "HostConfig": "CreateRequest.HostConfig",
    "NetworkingConfig": "CreateRequest.NetworkingConfig",
}


class NetworkingBody(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """The networks of a container to be."""

    endpoints_config: dict[str, EndpointConfig] = {}


class HostBody(HostConfig, frozen=True, kw_only=True, rename=docker_name):
    """The part that depends on the host, with fields that Linux has no use for, or no more."""

    kernel_memory: int = 0
    kernel_memory_tcp: int = msgspec.field(default=0, name="KernelMemoryTCP")
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = msgspec.field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = 0

    @property
    def host(self) -> HostConfig:
        """Without them."""
        return HostConfig(**{name: getattr(self, name) for name in HostConfig.__struct_fields__})


class CreateBody(ContainerConfig, frozen=True, kw_only=True, rename=docker_name):
    """`POST /containers/create`: the portable part at the top, the others below."""

    host_config: HostBody = HostBody()
    networking_config: NetworkingBody = NetworkingBody()

    @property
    def config(self) -> ContainerConfig:
        """The portable part by itself."""
        return ContainerConfig(**{name: getattr(self, name) for name in ContainerConfig.__struct_fields__})


class ExecBody(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """`POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: tuple[int, int] = (0, 0)
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    env: tuple[str, ...] = ()
    working_dir: str = ""
    cmd: tuple[str, ...] = ()


class ExecStartBody(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """`POST /exec/{id}/start`."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] = (0, 0)


class VolumeBody(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """`POST /volumes/create`."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}


class NetworkBody(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """`POST /networks/create`, as far as it is read before it is refused."""

    name: str = ""


async def read_body(
    request: Request, kind: type[Body], *, optional: bool = False, go_names: Mapping[str, str] | None = None
) -> Body:
    """The JSON body. Raises InvalidParameter in Docker's words."""
    return await _decoded(request, partial(decode_body, type_=kind, optional=optional, go_names=go_names))


async def read_create(request: Request) -> CreateBody:
    """The body of a container's create; commands may be one bare string. Raises InvalidParameter."""
    decode = partial(
        decode_body, type_=CreateBody, optional=False, lists_of_strings=_LIST_OR_STRING, go_names=_CREATE_NAMES
    )
    return await _decoded(request, decode)


async def read_commit(request: Request) -> ContainerConfig | None:
    """The body of a commit; None where it says nothing. Raises InvalidParameter."""
    decode = partial(
        decode_body, type_=ContainerConfig, optional=True, lists_of_strings=_LIST_OR_STRING, go_names={"": "Config"}
    )
    config = await _decoded(request, decode)
    return None if config == ContainerConfig() else config


async def _decoded(request: Request, decode: Callable[[bytes, str], Body]) -> Body:
    """A long body is decoded aside: nobody else has to wait for it."""
    body, content_type = await request.read(), request.headers.get("content-type", "")
    if len(body) <= _QUICK_BYTES:
        return decode(body, content_type)
    return await to_thread.run_sync(decode, body, content_type)
