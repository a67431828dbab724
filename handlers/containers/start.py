"""Starting: file system, volumes, network, process; all or nothing, and the log says which."""

import contextlib
from collections.abc import Callable

import msgspec

from events.base import Event
from events.container_lookup import find_container
from events.errors import Conflict, NotFound, SystemFailure, reason_of
from events.log import Append
from events.messages import container as m
from events.messages.exec import (
    CreatedProcess,
    CreateProcess,
    DeleteProcess,
    PrepareProcess,
    ResolvedMount,
    StartProcess,
)
from events.messages.layer import MountContainerLayer, UnmountContainerLayer
from events.messages.network import (
    ConnectSandbox,
    DisconnectSandbox,
    EndpointRequest,
    LinkedNames,
    OpenSandbox,
    PortRequest,
    Sandbox,
)
from events.messages.volume import MountVolume, UnmountVolume
from events.projections.containers import Container
from handlers.containers import decide, links
from handlers.containers.access import conclude, current, enter
from handlers.containers.errors import NotConnected
from handlers.containers.port_text import parse_port
from handlers.containers.saga import Saga, Undo
from handlers.containers.settle import take_down
from handlers.context import Context
from handlers.together import beside, together

NOT_FOUND, NOT_EXECUTABLE, OTHER_FAILURE = 127, 126, 128


async def start(
    context: Context, name: str, *, answer: object = None, decision: Callable[[Container], Append] = decide.start
) -> None:
    """Answer StartContainer. What fails is undone, recorded, and raised again."""
    c = await enter(context, name, "start", decision)
    saga = Saga()
    try:
        async with saga:
            created = await _steps(context, saga, current(context, c.id))
            started = m.ContainerStarted(
                container_id=c.id,
                pid=created.pid,
                started_at_ns=context.clock.now_ns(),
                apparmor_profile=created.apparmor_profile,
            )
            await conclude(context, c.id, started, answer=answer)
    except BaseException as error:
        await fail(context, c.id, saga.leftovers, error)
        raise


async def start_again(context: Context, command: m.StartAgain) -> None:
    """Answer StartAgain. One that shares another's network waits for that: until then nothing is begun, or failed."""

    def decision(c: Container) -> Append:
        begun = decide.start_again(c, command.run)
        with contextlib.suppress(NotFound):  # the start itself will say so
            _joined(context, c)
        return begun

    await start(context, command.container, decision=decision)


async def fail(context: Context, container_id: str, leftovers: list[str], error: BaseException, *more: Event) -> None:
    """Write the outcome of a start that was undone, and what follows from it."""
    event = m.ContainerStartFailed(
        container_id=container_id,
        exit_code=exit_code_of(str(error)),
        error=reason_of(error),
        leftovers=tuple(leftovers),
    )
    await conclude(context, container_id, event, *more)


def exit_code_of(reason: str) -> int:
    """Docker's convention for State.ExitCode of a process that never ran.

    The runtime tells what went wrong only in the words of errno, so the words it is.
    """
    if "no such file or directory" in reason or "executable file not found" in reason:
        return NOT_FOUND
    if any(words in reason for words in ("permission denied", "is a directory", "not a directory")):
        return NOT_EXECUTABLE
    return OTHER_FAILURE


async def _steps(context: Context, saga: Saga, c: Container) -> CreatedProcess:
    """Make everything; the steps that don't depend on each other at once."""
    if c.leftovers and (left := await take_down(context, c)):
        raise SystemFailure(f"container {c.name} can't be started over what its last run left: {'; '.join(left)}")
    parts = _Parts()
    undo_process = _undo(context, DeleteProcess(container_id=c.id))
    saga.begin("preparation", undo_process)
    await together(
        lambda: context.send(PrepareProcess(container_id=c.id)),
        lambda: _mount_layer(context, saga, c, parts),
        lambda: _mount_volumes(context, saga, c, parts),
        lambda: _open(context, saga, c, parts),
    )
    sandbox = parts.sandbox
    if sandbox is None:
        raise Conflict(f"container {c.id} got no sandbox")
    saga.begin("process", undo_process)  # again: it must be gone before its file systems
    mounts = resolve(c, parts.volumes, sandbox)
    command = CreateProcess(
        container_id=c.id, rootfs=parts.rootfs, namespace_path=sandbox.namespace_path, mounts=mounts
    )
    created = await beside(lambda: _connect(context, c, sandbox), lambda: context.send(command))
    await context.send(StartProcess(container_id=c.id))
    return created


class _Parts:
    """What the concurrent steps bring home."""

    def __init__(self) -> None:
        self.rootfs = ""
        self.volumes: dict[str, str] = {}  # destination -> path
        self.sandbox: Sandbox | None = None


def _undo(context: Context, command: DeleteProcess | UnmountContainerLayer | UnmountVolume | DisconnectSandbox) -> Undo:
    return lambda: context.send(command)


async def _mount_layer(context: Context, saga: Saga, c: Container, parts: _Parts) -> None:
    saga.begin("mount", _undo(context, UnmountContainerLayer(container_id=c.id)))
    parts.rootfs = (await context.send(MountContainerLayer(container_id=c.id))).path


async def _mount_volumes(context: Context, saga: Saga, c: Container, parts: _Parts) -> None:
    for point in c.mounts:
        if point.type != "volume":
            continue
        saga.begin(f"volume {point.name}", _undo(context, UnmountVolume(name=point.name, container_id=c.id)))
        mounted = await context.send(
            MountVolume(
                name=point.name,
                container_id=c.id,
                destination=point.destination,
                writable=point.writable,
                propagation=point.propagation,
            )
        )
        parts.volumes[point.destination] = mounted.path


async def _open(context: Context, saga: Saga, c: Container, parts: _Parts) -> None:
    command = open_command(c, _joined(context, c), links.names_here(context, c))
    saga.begin("network", _undo(context, DisconnectSandbox(container_id=c.id)))
    parts.sandbox = await context.send(command)


async def _connect(context: Context, c: Container, sandbox: Sandbox) -> None:
    if not sandbox.connected:
        await context.send(ConnectSandbox(container_id=c.id, container_name=c.name, ports=tuple(port_requests(c))))
    await links.tell(context, c)


def _joined(context: Context, c: Container) -> str:
    """The full id of the container whose network is shared; "" when none is."""
    kind, _, name = c.host.network_mode.partition(":")
    if kind != "container":
        return ""
    other = find_container(context.state.containers, name)
    if not other.is_live:
        raise NotConnected(other.name, other.status)
    return other.id


def open_command(c: Container, joined: str, linked: tuple[LinkedNames, ...] = ()) -> OpenSandbox:
    """What the network handler is asked for. Pure."""
    mode, host = c.host.network_mode, c.host
    plain = mode in ("none", "host") or joined
    return OpenSandbox(
        container_id=c.id,
        container_name=c.name,
        hostname=c.config.hostname,
        domainname=c.config.domainname,
        mode=f"container:{joined}" if joined else mode,
        endpoints=() if plain else tuple(endpoint_requests(c)),
        ports=() if plain else tuple(port_requests(c)),
        extra_hosts=host.extra_hosts,
        dns=host.dns,
        dns_search=host.dns_search,
        dns_options=host.dns_options,
        links=linked,
    )


def endpoint_requests(c: Container) -> list[EndpointRequest]:
    """One for each network that the container is on."""
    names = c.endpoints or {c.host.network_mode: m.EndpointConfig()}
    return [
        EndpointRequest(
            network=name,
            address=endpoint.ipam_config.ipv4_address if endpoint.ipam_config else "",
            mac_address=endpoint.mac_address or c.config.mac_address,
            aliases=endpoint.aliases,
            driver_options=endpoint.driver_opts,
        )
        for name, endpoint in names.items()
    ]


def port_requests(c: Container) -> list[PortRequest]:
    """From -p and, with -P, from every exposed port that isn't bound."""
    requests = []
    for port, bindings in c.host.port_bindings.items():
        first, last, protocol = parse_port(port)
        for binding in bindings:
            host_first, host_last, _ = parse_port(binding.host_port or "0")
            for offset, number in enumerate(range(first, last + 1)):
                one_to_one = last > first
                requests.append(
                    PortRequest(
                        container_port=number,
                        protocol=protocol,
                        host_address=binding.host_ip.strip("[]"),
                        host_port=host_first + offset if host_first and one_to_one else host_first,
                        host_port_end=host_last if not one_to_one and host_last > host_first else 0,
                    )
                )
    if c.host.publish_all_ports:
        bound = {(request.container_port, request.protocol) for request in requests}
        for port in c.config.exposed_ports:
            first, last, protocol = parse_port(port)
            requests += [
                PortRequest(container_port=number, protocol=protocol)
                for number in range(first, last + 1)
                if (number, protocol) not in bound
            ]
    return requests


def resolve(c: Container, volumes: dict[str, str], sandbox: Sandbox) -> tuple[ResolvedMount, ...]:
    """The mounts with their sources; the engine's name files come last unless the user put something there."""
    mounts = [_resolved(point, volumes) for point in c.mounts]
    taken = {point.destination for point in c.mounts}
    files = {
        "/etc/resolv.conf": sandbox.resolv_conf_path,
        "/etc/hostname": sandbox.hostname_path,
        "/etc/hosts": sandbox.hosts_path,
    }
    mounts += [
        ResolvedMount(type="bind", source=path, destination=place, writable=not c.host.readonly_rootfs)
        for place, path in files.items()
        if path and place not in taken
    ]
    return tuple(mounts)


def _resolved(point: m.MountPoint, volumes: dict[str, str]) -> ResolvedMount:
    common = ResolvedMount(
        type="tmpfs" if point.type == "tmpfs" else "bind",
        destination=point.destination,
        writable=point.writable,
        propagation=point.propagation,
        options=point.tmpfs_options,
    )
    if point.type == "tmpfs":
        return common
    if point.type == "volume":
        return msgspec.structs.replace(common, source=volumes[point.destination], subpath=point.subpath)
    return msgspec.structs.replace(
        common,
        source=point.source,
        create_source=point.create_source,
        non_recursive=point.non_recursive,
        read_only_non_recursive=point.read_only_non_recursive,
    )
