"""The composition: the one place that names concrete drivers and hands every part what it needs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio.abc
import msgspec

from daemon import host
from daemon.build_output import ContainerOutputs
from daemon.config import Configuration
from daemon.storage import MakeGraphDriver, choose_graph_driver
from daemon.tools import Tools
from events.errors import SystemFailure
from handlers.build.handler import BuildHandler
from handlers.containers.handler import ContainerHandler
from handlers.containers.limits import HostLimits
from handlers.context import Handler
from handlers.exec.drivers import apparmor
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.drivers.host_facts import read_host_facts
from handlers.exec.handler import ExecHandler
from handlers.exec.host_facts import HostFacts
from handlers.exec.probes import Probes
from handlers.exec.specification import Settings
from handlers.images.content import ContentStore
from handlers.images.distribution import DistributionHandler
from handlers.images.downloads import Downloads
from handlers.images.drivers.late_http import LateHttp
from handlers.images.handler import ImageHandler
from handlers.images.registry_settings import RegistrySettings
from handlers.kernel import cgroups
from handlers.kernel.namespaces import PinnedNamespaces
from handlers.layers.drivers.aufs import Aufs
from handlers.layers.drivers.btrfs import Btrfs
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.drivers.devicemapper import DeviceMapper
from handlers.layers.drivers.forks import keep_warm
from handlers.layers.drivers.fuse_overlayfs import FuseOverlayfs
from handlers.layers.drivers.layer_tars import KeptTars
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.drivers.vfs import Vfs
from handlers.layers.drivers.zfs import Zfs
from handlers.layers.handler import LayerHandler
from handlers.layers.ports import GraphDriver
from handlers.networks.drivers.bridge import BridgeDriver
from handlers.networks.drivers.forwarder import Forwarder
from handlers.networks.drivers.name_files import HostNameFiles
from handlers.networks.drivers.nft import NftFirewall
from handlers.networks.drivers.ports import HostPorts
from handlers.networks.handler import NetworkHandler
from handlers.networks.parts import Parts
from handlers.progress import Progress
from handlers.volumes.drivers.local import LocalDriver
from handlers.volumes.handler import VolumeHandler

LOGGER = logging.getLogger(__name__)
GRAPH_DRIVERS: dict[str, MakeGraphDriver] = {
    "overlay2": lambda root, options: Overlay2(root, options.size_bytes("overlay2.size")),
    "fuse-overlayfs": lambda root, _: FuseOverlayfs(root),
    "btrfs": lambda root, options: Btrfs(root, options.size_bytes("btrfs.min_space")),
    "zfs": lambda root, options: Zfs(root, options.text("zfs.fsname")),
    "devicemapper": lambda root, options: DeviceMapper(
        root,
        pool=options.text("dm.thinpooldev"),
        base_bytes=options.size_bytes("dm.basesize"),
        data_bytes=options.size_bytes("dm.loopdatasize"),
        metadata_bytes=options.size_bytes("dm.loopmetadatasize"),
    ),
    "aufs": lambda root, _: Aufs(root),
    "vfs": lambda root, _: Vfs(root),
}


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """The handlers, in the order of recovery, and the drivers that the daemon itself needs."""

    handlers: Sequence[Handler]
    networks: NetworkHandler
    runtime: ConmonRuntime
    graph: GraphDriver
    graph_choice: tuple[tuple[str, str], ...]  # why this one, for `docker info`
    files: HelperFiles
    tars: KeptTars
    probes: Probes
    content: ContentStore
    registries: LateHttp
    facts: HostFacts
    drivers: Mapping[str, object]  # everything that acts on the host, by short names
    warnings: tuple[str, ...] = ()  # what the host can't do, for `docker info`


async def compose(
    configuration: Configuration,
    tools: Tools,
    log_id: str,
    tasks: anyio.abc.TaskGroup,
    *,
    registries: Callable[[], RegistrySettings],
    progress: Progress,
) -> Composition:
    """Make everything. `registries` is asked at every use, since a reload changes them. `log_id` marks what may hold
    people's data: with another log it is somebody else's.

    Raises SystemFailure when the host lacks what the storage driver needs.
    """
    instance = configuration.instance
    keep_warm(tasks)
    graph, graph_choice = await choose_graph_driver(
        GRAPH_DRIVERS, instance.data_root, configuration.storage_driver, configuration.storage_options
    )
    facts = await anyio.to_thread.run_sync(read_host_facts)
    profile = apparmor.DefaultProfile(tools.apparmor_parser)
    warnings = await load(profile, facts)
    runtime = ConmonRuntime(
        instance, tools.conmon, systemd_cgroup=configuration.cgroup_driver == "systemd", profile=profile
    )
    parts = network_parts(configuration)
    networks = NetworkHandler(parts)
    local = LocalDriver(instance.data_root / "volumes", mark=log_id)
    images = ImageHandler(instance.data_root / "content", scratch(configuration))
    await give_realtime(configuration, facts)
    settings = process_settings(configuration, tools, "" if warnings else apparmor.NAME)
    processes = ExecHandler(runtime, facts, settings, tasks)
    remote = LateHttp(registries)
    files, tars = HelperFiles(graph, instance.data_root / "containers"), KeptTars(graph)
    return Composition(
        handlers=(
            networks,
            VolumeHandler({"local": local}),
            LayerHandler(graph, files),
            images,
            DistributionHandler(
                images,
                remote,
                remote,
                downloads(configuration, tasks, registries),
                tars,
                progress=progress,
                settings=registries,
            ),
            processes,
            ContainerHandler(limits(configuration, facts)),
            BuildHandler(ContainerOutputs(runtime), remote, scratch(configuration), progress=progress),
        ),
        networks=networks,
        runtime=runtime,
        graph=graph,
        graph_choice=graph_choice,
        files=files,
        tars=tars,
        registries=remote,
        probes=Probes(runtime, facts, settings),
        content=images.content,
        facts=facts,
        drivers={
            "bridge": parts.driver,
            "ports": parts.publisher,
            "namespaces": parts.namespaces,
            "names": parts.name_files,
            "local": local,
            "graph": graph,
            "files": files,
            "content": images.content,
            "runtime": runtime,
        },
        warnings=warnings,
    )


def downloads(
    configuration: Configuration, tasks: anyio.abc.TaskGroup, registries: Callable[[], RegistrySettings]
) -> Downloads:
    """Blobs on their way in."""
    return Downloads(
        configuration.instance.data_root / "downloads",
        tasks,
        at_once=lambda: registries().downloads,
        attempts=lambda: registries().attempts,
    )


async def load(profile: apparmor.DefaultProfile, facts: HostFacts) -> tuple[str, ...]:
    """Load the default AppArmor profile where the kernel wants one; the warning when that can't be."""
    if not facts.apparmor:
        return ()
    try:
        await profile.load()
    except SystemFailure as error:
        LOGGER.warning("containers run without an AppArmor profile: %s", error)
        return (f"WARNING: Containers run without an AppArmor profile: {error}",)
    return ()


async def give_realtime(configuration: Configuration, facts: HostFacts) -> None:
    """The parent of all containers gets what they may have of the real-time scheduler. Raises SystemFailure."""
    runtime_us, period_us = configuration.cpu_realtime_runtime_us, configuration.cpu_realtime_period_us
    if not runtime_us:
        return
    if not facts.cpu_realtime or configuration.cgroup_driver == "systemd":
        raise SystemFailure("cpu-rt-runtime: only cgroup v1 with the cgroupfs driver shares out real-time scheduling")
    await anyio.to_thread.run_sync(
        cgroups.give_realtime, configuration.cgroup_parent, runtime_us, period_us, cgroups.hierarchies()
    )


def scratch(configuration: Configuration) -> Path:
    """Where uploads and unpacked archives go, on the file system of the data-root."""
    return configuration.instance.data_root / "tmp"


def network_parts(configuration: Configuration) -> Parts:
    """Drivers of the network handler."""
    instance, settings = configuration.instance, configuration.network
    firewall = NftFirewall(instance.firewall_table) if settings.iptables else None
    forwarder = Forwarder(instance.exec_root, forward=settings.userland_proxy)
    return Parts(
        settings=settings,
        instance=instance,
        driver=BridgeDriver(instance, firewall),
        publisher=HostPorts(firewall, forwarder, forwards=settings.userland_proxy),
        namespaces=PinnedNamespaces(instance.exec_root / "netns"),
        name_files=HostNameFiles(instance.data_root),
    )


def limits(configuration: Configuration, facts: HostFacts) -> HostLimits:
    """What containers are checked against and given by default."""
    return HostLimits(
        cpus=host.online_cpus(),
        memory_nodes=host.memory_nodes(),
        cgroup_version=host.cgroup_version(),
        hostname=host.host_name(),
        platform=host.platform_parts(),
        runtimes=frozenset({"runc", *configuration.runtimes}),
        default_runtime=configuration.default_runtime,
        shm_bytes=configuration.default_shm_bytes,
        ulimits=configuration.default_ulimits,
        init=configuration.init,
        cgroup_parent=configuration.cgroup_parent,
        systemd_cgroup=configuration.cgroup_driver == "systemd",
        cpu_realtime=facts.cpu_realtime,
        cpu_realtime_runtime_us=configuration.cpu_realtime_runtime_us,
        ipc_mode=configuration.default_ipc_mode,
        cgroupns_mode=configuration.default_cgroupns_mode,
        inter_container=configuration.network.inter_container,
        log=configuration.log,
    )


def process_settings(configuration: Configuration, tools: Tools, profile: str) -> Settings:
    """What specifications of processes are made by. `profile` is the AppArmor profile that is loaded for them."""
    return Settings(
        runtimes=tools.runtimes,
        default_runtime=configuration.default_runtime,
        cgroup_parent=configuration.cgroup_parent,
        systemd_cgroup=configuration.cgroup_driver == "systemd",
        init_path=configuration.init_path or tools.init,
        seccomp_profile=configuration.seccomp_profile,
        no_new_privileges=configuration.no_new_privileges,
        apparmor_profile=profile,
        init=configuration.init,
    )
