"""From a container's configuration to the runtime's: the one place where API fields become kernel features. Pure.

Whatever must be looked up on the host comes in as `Request`, `HostFacts` and `Settings`.
"""

import msgspec

from events.errors import InvalidParameter, SystemFailure
from events.messages.container import ContainerConfig, ContainerSecrets, EndpointConfig, HostConfig
from events.messages.exec import ExecConfig, ExecSecrets, ResolvedMount
from events.projections.containers import Container
from handlers import endpoint_options
from handlers.exec import (
    capabilities,
    cgroup_resources,
    environment,
    mounts,
    namespaces,
    oci,
    process_limits,
    read_only,
    seccomp_profile,
    security,
    users,
)
from handlers.exec import devices as device_rules
from handlers.exec.devices import HostDevice
from handlers.exec.host_facts import HostFacts

_NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


class NoInit(InvalidParameter):
    """--init without a program for it on the host."""

    def __init__(self) -> None:
        super().__init__("--init needs tini or catatonit on the host: install the package tini")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon's configuration says."""

    runtimes: dict[str, str] = {}  # name -> path of the program
    default_runtime: str = "runc"
    cgroup_parent: str  # absolute path for cgroupfs; a slice, or "" for system.slice, for systemd
    systemd_cgroup: bool = False
    init_path: str = ""  # program for --init, "" when there is none
    init: bool = False  # for containers that don't say
    seccomp_profile: str = ""  # "" the engine's own, "unconfined", or JSON
    no_new_privileges: bool = False  # for containers that don't say
    apparmor_profile: str = ""  # loaded default profile, "" for none


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One container's start."""

    container: Container
    secrets: ContainerSecrets
    rootfs: str
    namespace_path: str  # network namespace; "" is the host's
    mounts: tuple[ResolvedMount, ...]
    passwd: str = ""  # text of the image's files
    group: str = ""
    devices: tuple[HostDevice, ...] = ()  # asked for, or all of the host's for a privileged one
    device_numbers: dict[str, tuple[int, int]] = {}  # of the block devices that limits name
    pids: dict[str, int] = {}  # of the containers whose namespaces are joined, by the name used for them
    linked: tuple[str, ...] = ()  # variables that tell of linked containers; the container's own win
    shared_memory: dict[str, str] = {}  # host path of a /dev/shm that several share, likewise and by the own id


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A specification, and what was asked for and couldn't be had."""

    specification: oci.Specification
    warnings: tuple[str, ...]


def build(request: Request, facts: HostFacts, settings: Settings) -> Built:
    """Raises InvalidParameter and SystemFailure in Docker's words for what makes no sense."""
    container = request.container
    host = container.host
    process, warnings = _process(request, facts, settings)
    rules = device_rules.rules(request.devices, host.device_cgroup_rules, privileged=host.privileged)
    limits = cgroup_resources.build(host, facts, rules, lambda path: request.device_numbers[path])
    filter_, filter_warnings = _seccomp(request, facts, settings)
    linux = oci.Linux(
        namespaces=namespaces.plan(
            host,
            network_path=request.namespace_path,
            cgroup_version=facts.cgroup_version,
            pid_of=lambda name: request.pids[name],
        ),
        cgroups_path=cgroups_path(container, settings),
        resources=limits.resources,
        devices=device_rules.nodes(request.devices),
        seccomp=filter_,
        sysctl=_sysctls(request),
        rootfs_propagation=mounts.rootfs_propagation(request.mounts),
        masked_paths=_filled_in(host.masked_paths),
        readonly_paths=_filled_in(host.readonly_paths),
    )
    specification = oci.Specification(
        oci_version=oci.VERSION,
        process=process,
        root=oci.Root(path=request.rootfs, readonly=host.readonly_rootfs),
        mounts=_mounts(request, facts, settings),
        linux=linux,
        hostname="" if host.uts_mode == "host" else _hostname(container),
        annotations=host.annotations,
    )
    return Built(specification=specification, warnings=(*warnings, *limits.warnings, *filter_warnings))


def exec_process(
    request: Request, config: ExecConfig, secrets: ExecSecrets, facts: HostFacts, settings: Settings
) -> oci.Process:
    """The `process` object of an exec: the container's own rights, unless it says otherwise."""
    process, _ = _process(request, facts, settings)
    container = request.container
    identity = users.resolve(
        config.user or container.config.user, container.host.group_add, request.passwd, request.group
    )
    host = msgspec.structs.replace(container.host, privileged=config.privileged or container.host.privileged)
    held, _ = capabilities.choose(host, facts.bounding_capabilities)
    return msgspec.structs.replace(
        process,
        user=_user(identity),
        args=secrets.cmd,
        cwd=config.working_dir or container.config.working_dir or "/",
        env=environment.build(
            request.linked,
            request.secrets.env,
            secrets.env,
            hostname=_hostname(container),
            home=identity.home,
            terminal=config.tty,
        ),
        terminal=config.tty,
        console_size=_box(config.console_size) if config.tty else None,
        capabilities=_capabilities(held, identity),
        apparmor_profile=container.apparmor_profile,
    )


def check(config: ContainerConfig, host: HostConfig, facts: HostFacts, settings: Settings) -> tuple[str, ...]:
    """What can be said before anything is made: warnings; raises InvalidParameter and SystemFailure as `build` does.

    What Docker finds out at the start only (devices, users, a soft limit above its hard one) is left to the start.
    """
    options = security.parse(host.security_opt)
    held, cap_warnings = capabilities.choose(host, facts.bounding_capabilities)
    rules = device_rules.rules((), host.device_cgroup_rules, privileged=host.privileged)
    limits = cgroup_resources.build(host, facts, rules, lambda _: (0, 0))
    _, limit_warnings = process_limits.rlimits(tuple(filter(process_limits.is_sound, host.ulimits)), facts)
    _, score_warnings = process_limits.oom_score(host.oom_score_adj, facts)
    _, profile_warnings = security.apparmor_profile(host, options, facts, settings.apparmor_profile)
    filter_warnings: tuple[str, ...] = ()
    if options.seccomp or not host.privileged:
        _, filter_warnings = seccomp_profile.choose(options.seccomp or settings.seccomp_profile, facts, held)
    if _wants_init(host, settings) and not settings.init_path:
        raise NoInit
    label_warnings = security.label_warnings(options, facts)
    return (
        *(*cap_warnings, *limit_warnings, *score_warnings, *profile_warnings, *label_warnings),
        *(*limits.warnings, *filter_warnings),
    )


def cgroups_path(container: Container, settings: Settings) -> str:
    """Where its cgroup is, as the runtime's cgroup driver wants it told."""
    parent = container.host.cgroup_parent or settings.cgroup_parent
    if settings.systemd_cgroup:
        return f"{parent or 'system.slice'}:shiplog:{container.id}"
    return f"/{parent.strip('/')}/{container.id}"


def _wants_init(host: HostConfig, settings: Settings) -> bool:
    """Whether an init reaps its zombies; pointless where the pid namespace isn't its own."""
    wanted = settings.init if host.init is None else host.init
    return wanted and host.pid_mode == ""


def _process(request: Request, facts: HostFacts, settings: Settings) -> tuple[oci.Process, tuple[str, ...]]:
    config, host = request.container.config, request.container.host
    identity = users.resolve(config.user, host.group_add, request.passwd, request.group)
    options = security.parse(host.security_opt)
    held, cap_warnings = capabilities.choose(host, facts.bounding_capabilities)
    limits, limit_warnings = process_limits.rlimits(host.ulimits, facts)
    score, score_warnings = process_limits.oom_score(host.oom_score_adj, facts)
    profile, profile_warnings = security.apparmor_profile(host, options, facts, settings.apparmor_profile)
    process = oci.Process(
        user=_user(identity),
        args=_arguments(request, settings),
        cwd=config.working_dir or "/",
        env=environment.build(
            request.linked,
            request.secrets.env,
            hostname=_hostname(request.container),
            home=identity.home,
            terminal=config.tty,
        ),
        terminal=config.tty,
        console_size=_box(host.console_size) if config.tty else None,
        capabilities=_capabilities(held, identity),
        rlimits=limits,
        no_new_privileges=(
            settings.no_new_privileges if options.no_new_privileges is None else options.no_new_privileges
        ),
        apparmor_profile=profile,
        oom_score_adj=score,
    )
    label_warnings = security.label_warnings(options, facts)
    return process, (*cap_warnings, *limit_warnings, *score_warnings, *profile_warnings, *label_warnings)


def _arguments(request: Request, settings: Settings) -> tuple[str, ...]:
    arguments = (*(request.secrets.entrypoint or ()), *request.secrets.cmd)
    if not arguments:
        raise InvalidParameter("no command specified")
    if not _wants_init(request.container.host, settings):
        return arguments
    return (mounts.INIT_DESTINATION, "--", *arguments)


def _mounts(request: Request, facts: HostFacts, settings: Settings) -> tuple[oci.Mount, ...]:
    host = request.container.host
    options = security.parse(host.security_opt)
    defaults = mounts.base(
        writable_sys=host.privileged,
        writable_cgroup=host.privileged or options.writable_cgroups,
        shm=_shm(request),
    )
    merged = mounts.merge(defaults, request.mounts, recursive_read_only=read_only.can_be_recursive(facts))
    if not _wants_init(request.container.host, settings):
        return merged
    if not settings.init_path:
        raise NoInit
    return (*merged, mounts.bind(mounts.INIT_DESTINATION, settings.init_path, writable=False))


def _shm(request: Request) -> oci.Mount | None:
    host = request.container.host
    if host.ipc_mode == "none":
        return None
    if host.ipc_mode == "host":
        return mounts.bind("/dev/shm", "/dev/shm")
    shared = request.container.id if host.ipc_mode == "shareable" else namespaces.joined(host.ipc_mode)
    if shared:
        return mounts.bind("/dev/shm", request.shared_memory[shared])
    return mounts.shm(host.shm_size)


def _seccomp(request: Request, facts: HostFacts, settings: Settings) -> tuple[oci.Seccomp | None, tuple[str, ...]]:
    host = request.container.host
    options = security.parse(host.security_opt)
    if host.privileged and not options.seccomp:
        return None, ()
    held, _ = capabilities.choose(host, facts.bounding_capabilities)
    return seccomp_profile.choose(options.seccomp or settings.seccomp_profile, facts, held)


def _sysctls(request: Request) -> dict[str, str]:
    host, config = request.container.host, request.container.config
    own_network = request.namespace_path and not namespaces.joined(host.network_mode)
    found = dict(_NETWORK_SYSCTLS) if own_network else {}
    if config.domainname and host.uts_mode != "host":
        found["kernel.domainname"] = config.domainname
    if own_network:
        found |= _of_interfaces(request.container.endpoints)
    return found | host.sysctls


def _of_interfaces(endpoints: dict[str, EndpointConfig]) -> dict[str, str]:
    found: dict[str, str] = {}
    for index, endpoint in enumerate(endpoints.values()):
        options = endpoint.driver_opts
        found |= endpoint_options.sysctls(options, endpoint_options.interface_name(options, f"eth{index}"))
    return found


def _capabilities(held: tuple[str, ...], identity: users.Identity) -> oci.Capabilities:
    """What execve(2) would leave to somebody who isn't root: the bounding set alone."""
    if identity.uid != 0:
        return oci.Capabilities(bounding=held)
    return oci.Capabilities(bounding=held, effective=held, permitted=held)


def _user(identity: users.Identity) -> oci.User:
    return oci.User(uid=identity.uid, gid=identity.gid, additional_gids=identity.additional_gids)


def _hostname(container: Container) -> str:
    return container.config.hostname or container.id[:12]


def _box(size: tuple[int, int]) -> oci.Box | None:
    height, width = size
    return oci.Box(height=height, width=width) if height and width else None


def _filled_in(paths: tuple[str, ...] | None) -> tuple[str, ...]:
    """Of the stored configuration; where it says nothing, nobody may take that for "none"."""
    if paths is None:
        raise SystemFailure("the container's configuration doesn't say which paths are masked and read-only")
    return paths
