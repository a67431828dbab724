"""Containers' first processes: from the log's configuration to a running program. Intents are the container's own."""

from contextlib import ExitStack
from functools import partial

import anyio
import msgspec

from events.container_links import full_alias, links_of
from events.container_lookup import find_container
from events.errors import InvalidParameter
from events.messages import exec as m
from events.messages.container import ContainerSecrets, HostConfig
from events.projections.containers import Container
from handlers.context import Context, Services
from handlers.exec import (
    cgroup_resources,
    host_devices,
    links,
    log_options,
    log_plans,
    namespaces,
    read_only,
    sources,
    specification,
)
from handlers.exec.errors import (
    CgroupNotShareable,
    HasEnded,
    NamespaceOwnerNotRunning,
    NoSuchProcess,
    NotShareable,
    RecursiveReadOnlyUnsupported,
    refused,
)
from handlers.exec.host_facts import HostFacts
from handlers.exec.mounts import DEFAULT_SHM_BYTES
from handlers.exec.oci import Specification
from handlers.exec.ports import ProcessOutline, ProcessPlan, Runtime, StartError
from handlers.exec.rootfs import ensure_directory, read_text
from handlers.exec.specification import Request, Settings
from handlers.exec.watching import Watching
from handlers.kernel.threads import run_foreign

_EXEC_STARTS_S = 10.0
_BRIDGE = "bridge"  # the default network, the only one with links of this kind


class Processes:
    """Answers commands about first processes."""

    def __init__(self, runtime: Runtime, facts: HostFacts, settings: Settings, watching: Watching) -> None:
        self._runtime, self._facts, self._settings, self._watching = runtime, facts, settings, watching

    async def check(self, _: Context, command: m.CheckProcess) -> m.CheckedProcess:
        """Answer CheckProcess."""
        log = command.host.log_config
        log_options.check(log.type or log_options.DEFAULT_DRIVER, log.config)
        warnings = specification.check(command.config, command.host, self._facts, self._settings)
        if read_only.is_forced(command.host.mounts, self._facts):
            await self._require(read_only.OPTION, command.host)
        return m.CheckedProcess(warnings=warnings)

    async def _require(self, mount_option: str, host: HostConfig) -> None:
        name = host.runtime or self._settings.default_runtime
        if not await self._runtime.understands(runtime_path(host, self._settings), mount_option):
            raise RecursiveReadOnlyUnsupported(f'the runtime "{name}" doesn\'t say that it knows {mount_option}')

    async def create(self, context: Context, command: m.CreateProcess) -> m.CreatedProcess:
        """Answer CreateProcess. Raises InvalidParameter for a program that isn't there or can't be run."""
        container = known(context, command.container_id)
        with ExitStack() as resources:
            held = await run_foreign(sources.hold, command.mounts, resources)
            owners = _owners(context, container)
            request = await run_foreign(
                _look_up, context.services, self._runtime, container, owners, command, held.mounts
            )
            built = specification.build(request, self._facts, self._settings)
            await self._reach_log(container, request.secrets)
            try:
                live = await self._runtime.create(self._plan(container, built.specification))
            except StartError as error:
                raise refused(error) from error
            if held.parts:
                await run_foreign(sources.verify, live.pid, held)
        profile = built.specification.process.apparmor_profile
        return m.CreatedProcess(pid=live.pid, apparmor_profile=profile, warnings=built.warnings)

    async def _reach_log(self, container: Container, secrets: ContainerSecrets) -> None:
        """A log driver that can't be reached at the start is told at once, as dockerd does."""
        plan = log_plans.plan_of(container, secrets)
        if plan.is_forwarded:
            await self._runtime.reach_log(plan, log_plans.subject_of(container, secrets))

    async def prepare(self, context: Context, command: m.PrepareProcess) -> None:
        """Answer PrepareProcess."""
        await self._runtime.prepare(self._outline(known(context, command.container_id)))

    def _plan(self, container: Container, built: Specification) -> ProcessPlan:
        return ProcessPlan(
            **msgspec.structs.asdict(self._outline(container)),
            specification=msgspec.json.encode(built),
            apparmor_profile=built.process.apparmor_profile,
        )

    def _outline(self, container: Container) -> ProcessOutline:
        return ProcessOutline(
            container_id=container.id,
            run=container.run,
            name=container.name,
            runtime=runtime_path(container.host, self._settings),
            terminal=container.config.tty,
            stdin=container.config.open_stdin,
            stdin_once=container.config.stdin_once,
            shared_memory_bytes=shared_memory_bytes(container),
        )

    async def start(self, context: Context, command: m.StartProcess) -> None:
        """Answer StartProcess; from here on its end is watched."""
        container = known(context, command.container_id)
        await self._runtime.start(container.id)
        self._watching.process(context.services, container.id, container.run)

    async def update(self, context: Context, command: m.UpdateProcess) -> m.CheckedProcess:
        """Answer UpdateProcess."""
        container = known(context, command.container_id)
        built = cgroup_resources.for_update(command.host, self._facts)
        if container.is_live:
            await self._runtime.update(container.id, msgspec.json.encode(built.resources))
        return m.CheckedProcess(warnings=built.warnings)

    async def find(self, _: Context, command: m.FindProcess) -> m.FoundProcess:
        """Answer FindProcess."""
        live = await self._runtime.find(command.container_id)
        if live is None:
            return m.FoundProcess(pid=0)
        return m.FoundProcess(
            pid=live.pid, started=live.started, frozen=live.frozen, apparmor_profile=live.apparmor_profile
        )

    async def signal(self, _: Context, command: m.SignalProcess) -> None:
        """Answer SignalProcess."""
        if not await self._runtime.signal(command.container_id, command.signal):
            raise HasEnded(command.container_id)

    async def freeze(self, context: Context, command: m.FreezeProcess) -> None:
        """Answer FreezeProcess. A runtime that starts an exec would be caught half-way, and hang: it comes first."""
        if command.frozen:
            with anyio.move_on_after(_EXEC_STARTS_S):
                for found in context.state.execs.of(command.container_id):
                    await context.until(f"exec/{found.id}", partial(_is_settled, context, found.id), None)
        await self._runtime.freeze(command.container_id, frozen=command.frozen)

    async def resize(self, _: Context, command: m.ResizeProcess) -> None:
        """Answer ResizeProcess."""
        await self._runtime.resize(command.container_id, command.exec_id, command.height, command.width)

    async def delete(self, _: Context, command: m.DeleteProcess) -> None:
        """Answer DeleteProcess."""
        await self._runtime.delete(command.container_id)

    async def remove_files(self, _: Context, command: m.RemoveProcessFiles) -> None:
        """Answer RemoveProcessFiles."""
        await self._runtime.remove_files(command.container_id)


def _is_settled(context: Context, exec_id: str) -> bool:
    """Whether an exec isn't about to start."""
    found = context.state.execs.get(exec_id)
    return found is None or found.status != "starting"


def known(context: Context, container_id: str) -> Container:
    """By full id. Raises NoSuchProcess."""
    container = context.state.containers.get(container_id)
    if container is None:
        raise NoSuchProcess(container_id)
    return container


def open_secrets(services: Services, container: Container) -> ContainerSecrets:
    """Raises KeyDestroyed once the container was removed."""
    return msgspec.json.decode(services.keyring.open(container.secrets), type=ContainerSecrets)


def runtime_path(host: HostConfig, settings: Settings) -> str:
    """The program of the runtime that a container names. Raises InvalidParameter."""
    name = host.runtime or settings.default_runtime
    path = settings.runtimes.get(name)
    if path is None:
        raise InvalidParameter(f"unknown or invalid runtime name: {name}")
    return path


def shared_memory_bytes(container: Container) -> int:
    """Size of the /dev/shm that others may join; 0 where nobody may."""
    return (container.host.shm_size or DEFAULT_SHM_BYTES) if container.host.ipc_mode == "shareable" else 0


def _look_up(
    services: Services,
    runtime: Runtime,
    container: Container,
    owners: dict[str, Container],
    command: m.CreateProcess,
    mounts: tuple[m.ResolvedMount, ...],
) -> Request:
    """Everything that a specification needs of the host. Blocking."""
    root, own = command.rootfs, {container.id: container}
    if container.config.working_dir:
        ensure_directory(root, container.config.working_dir)
    return Request(
        container=container,
        secrets=open_secrets(services, container),
        rootfs=root,
        namespace_path=command.namespace_path,
        mounts=mounts,
        passwd=read_text(root, "/etc/passwd"),
        group=read_text(root, "/etc/group"),
        devices=host_devices.of_container(container.host),
        device_numbers=host_devices.block_numbers(container.host),
        pids={name: owner.pid for name, owner in owners.items()},
        shared_memory={name: runtime.shared_memory(owner.id) for name, owner in (owners | own).items()},
        linked=linked_variables(services, container),
    )


def linked_variables(services: Services, container: Container) -> tuple[str, ...]:
    """What the environment tells of linked containers; a link acts between two on the default bridge."""
    found: list[str] = []
    for link in links_of(container, services.state.containers):
        target = link.target
        address = _bridge_address(services, target)
        if address and _bridge_address(services, container):
            ports = [port for text in target.config.exposed_ports for port in _ports(text)]
            env = open_secrets(services, target).env
            found += links.variables(full_alias(container, link), address, ports, env)
    return tuple(found)


def _bridge_address(services: Services, container: Container) -> str:
    sandbox = services.state.sandboxes.get(container.id)
    endpoints = sandbox.endpoints if sandbox else ()
    return next((e.address for e in endpoints if e.network_name == _BRIDGE), "")


def _ports(text: str) -> list[tuple[int, str]]:
    """`80/tcp`, `8000-8010/udp`, as they were checked when the container was created."""
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    return [(number, protocol or "tcp") for number in range(int(first), int(last or first) + 1)]


def _owners(context: Context, container: Container) -> dict[str, Container]:
    """The containers whose namespaces this one joins, by the name it uses for them. Not for a thread: it searches."""
    owners = {}
    for mode in (container.host.pid_mode, container.host.ipc_mode, container.host.cgroupns_mode):
        name = namespaces.joined(mode)
        if name:
            owners[name] = find_container(context.state.containers, name)
            if not owners[name].is_live:
                raise NamespaceOwnerNotRunning(owners[name].id)
    joined = namespaces.joined(container.host.ipc_mode)
    if joined and owners[joined].host.ipc_mode not in ("shareable", "host"):
        raise NotShareable(owners[joined].id)
    joined = namespaces.joined(container.host.cgroupns_mode)
    if joined and owners[joined].host.cgroupns_mode not in ("shareable", "host"):
        raise CgroupNotShareable(owners[joined].id)
    return owners
