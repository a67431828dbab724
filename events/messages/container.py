"""Everything that can be asked of containers and everything that can happen to them.

Configuration keeps the Docker Engine API's field names in the log: they are the field's own terms, and whoever reads
the log knows them. What may be secret is in `ContainerSecrets`, sealed in the log.
"""

from typing import ClassVar

import msgspec

from events.base import Command, Event, docker_name
from events.messages.image import CommittedImage, HealthcheckConfig, RunConfig
from events.sealed import Sealed

# ---- configuration, as the Docker Engine API describes it (create request)


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """The portable part. After normalisation it has the image's defaults merged in."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, str]] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None  # None: the image's; (): none
    healthcheck: HealthcheckConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, str]] = {}
    working_dir: str = ""
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None  # s
    shell: tuple[str, ...] = ()


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Log driver and its options."""

    type: str = ""
    config: dict[str, str] = {}


class PortBinding(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Where a container's port is to appear; `host_port` is "", "80" or "80-90"."""

    host_ip: str = msgspec.field(default="", name="HostIp")
    host_port: str = ""


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """When to start again by itself."""

    name: str = ""
    maximum_retry_count: int = 0


class WeightDevice(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Block I/O weight of one device."""

    path: str = ""
    weight: int = 0


class ThrottleDevice(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Block I/O limit of one device; bytes or operations per second."""

    path: str = ""
    rate: int = 0


class Device(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """A host device to show in the container."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = "rwm"


class DeviceRequest(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Devices asked for by driver (`--gpus`, CDI)."""

    driver: str = ""
    count: int = 0
    device_ids: tuple[str, ...] = msgspec.field(default=(), name="DeviceIDs")
    capabilities: tuple[tuple[str, ...], ...] = ()
    options: dict[str, str] = {}


class Ulimit(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """A resource limit of the first process."""

    name: str
    soft: int = 0
    hard: int = 0


class BindOptions(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Options of a bind mount."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriverConfig(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Driver of a volume that a mount may have to create."""

    name: str = ""
    options: dict[str, str] = {}


class VolumeOptions(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Options of a volume mount."""

    no_copy: bool = False
    labels: dict[str, str] = {}
    subpath: str = ""
    driver_config: VolumeDriverConfig | None = None


class TmpfsOptions(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Options of a tmpfs mount."""

    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] = ()


class Mount(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """A mount asked for with `--mount`."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """The part that depends on the host. Sizes in bytes, CPU periods and quotas in us."""

    binds: tuple[str, ...] = ()
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, tuple[PortBinding, ...]] = {}
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] = ()
    console_size: tuple[int, int] = (0, 0)  # height, width
    annotations: dict[str, str] = {}
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    cgroupns_mode: str = ""
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] = ()
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] = ()
    storage_opt: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = {}
    runtime: str = ""
    isolation: str = ""
    mounts: tuple[Mount, ...] = ()
    masked_paths: tuple[str, ...] | None = None  # None: the default set
    readonly_paths: tuple[str, ...] | None = None
    init: bool | None = None
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] = ()
    blkio_device_read_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_read_iops: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_iops: tuple[ThrottleDevice, ...] = ()
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    device_requests: tuple[DeviceRequest, ...] = ()
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] = ()


class EndpointIpam(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Addresses asked for on one network."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: tuple[str, ...] = msgspec.field(default=(), name="LinkLocalIPs")


class EndpointConfig(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """What a container asks of one network."""

    ipam_config: EndpointIpam | None = msgspec.field(default=None, name="IPAMConfig")
    links: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    mac_address: str = ""
    driver_opts: dict[str, str] = {}
    gw_priority: int = 0


class ContainerSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What of the configuration may be secret; sealed with the container's key."""

    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    healthcheck_test: tuple[str, ...] = ()
    log_options: dict[str, str] = {}
    volume_options: dict[str, dict[str, str]] = {}  # driver options of volumes to create, by mount target


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A mount that the container gets at every start, in the order of mounting."""

    type: str  # "bind", "volume", "tmpfs"
    source: str = ""  # host path of a bind, "" otherwise
    name: str = ""  # volume name
    driver: str = ""
    destination: str
    mode: str = ""  # the mode as given in -v (`ro,z`)
    writable: bool = True
    propagation: str = ""
    subpath: str = ""
    non_recursive: bool = False
    read_only_non_recursive: bool = False
    no_copy: bool = False
    anonymous: bool = False
    create_source: bool = False  # a bind's source is made a directory when nothing is there
    tmpfs_options: str = ""  # mount options of a tmpfs


# ---- commands


class CreatedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CreateContainer."""

    container_id: str
    warnings: tuple[str, ...] = ()


class CreateContainer(Command[CreatedContainer], frozen=True, kw_only=True):
    """Make a container of an image; name "" lets the engine choose one."""

    TYPE: ClassVar[str] = "container.create"
    name: str = ""
    config: ContainerConfig
    host: HostConfig
    endpoints: dict[str, EndpointConfig] = {}
    platform: str = ""


class StartContainer(Command[None], frozen=True, kw_only=True):
    """Run its process. `container` is an id, a prefix or a name, here and in the following."""

    TYPE: ClassVar[str] = "container.start"
    container: str


class StartAgain(Command[None], frozen=True, kw_only=True):
    """The restart policy's time has come. `run` is the one that ended; NotModified when that isn't the last word."""

    TYPE: ClassVar[str] = "container.start_again"
    container: str
    run: int


class StopContainer(Command[None], frozen=True, kw_only=True):
    """Ask the process to end, then kill it. timeout_s None: the container's own; -1: wait for ever.

    `asked`: by somebody, not by the engine as it shuts down.
    """

    TYPE: ClassVar[str] = "container.stop"
    container: str
    timeout_s: int | None = None
    signal: str = ""
    asked: bool = True


class RestartContainer(Command[None], frozen=True, kw_only=True):
    """Stop if it runs, then start."""

    TYPE: ClassVar[str] = "container.restart"
    container: str
    timeout_s: int | None = None
    signal: str = ""


class KillContainer(Command[None], frozen=True, kw_only=True):
    """Send a signal to the first process; a deadly one answers when the container has ended."""

    TYPE: ClassVar[str] = "container.kill"
    container: str
    signal: str = "SIGKILL"


class PauseContainer(Command[None], frozen=True, kw_only=True):
    """Freeze its processes."""

    TYPE: ClassVar[str] = "container.pause"
    container: str


class UnpauseContainer(Command[None], frozen=True, kw_only=True):
    """Thaw them."""

    TYPE: ClassVar[str] = "container.unpause"
    container: str


class RenameContainer(Command[None], frozen=True, kw_only=True):
    """Give it another name."""

    TYPE: ClassVar[str] = "container.rename"
    container: str
    name: str


class RemoveLink(Command[None], frozen=True, kw_only=True):
    """Take another container's name from one that knows it by a link; both stay."""

    TYPE: ClassVar[str] = "container.remove_link"
    container: str  # that has the link
    alias: str


class ResizeContainer(Command[None], frozen=True, kw_only=True):
    """Set its terminal's size in characters."""

    TYPE: ClassVar[str] = "container.resize"
    container: str
    height: int
    width: int


class RemoveContainer(Command[None], frozen=True, kw_only=True):
    """Remove it and all that belongs to it; `volumes` also its anonymous volumes."""

    TYPE: ClassVar[str] = "container.remove"
    container: str
    force: bool = False
    volumes: bool = False


class SettleExit(Command[None], frozen=True, kw_only=True):
    """Its process has ended (a policy noticed): take down what served it. Not running is fine."""

    TYPE: ClassVar[str] = "container.settle_exit"
    container: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What an update may change of a HostConfig; zero and empty leave it, `pids_limit` 0 and -1 take the limit away."""

    blkio_weight: int = 0
    cpu_shares: int = 0
    nano_cpus: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    pids_limit: int | None = None
    restart_policy: RestartPolicy = RestartPolicy()


class UpdatedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of UpdateContainer."""

    warnings: tuple[str, ...] = ()


class UpdateContainer(Command[UpdatedContainer], frozen=True, kw_only=True):
    """Change limits and restart policy, at once where it runs."""

    TYPE: ClassVar[str] = "container.update"
    container: str
    changes: Changes


class ChangeHealth(Command[None], frozen=True, kw_only=True):
    """Its probes say so: `status` is healthy or unhealthy; of another `run` than the present one it's a conflict."""

    TYPE: ClassVar[str] = "container.change_health"
    container: str
    run: int
    status: str


class RecordAccess(Command[None], frozen=True, kw_only=True):
    """Somebody looked into it: attach, detach, top, export, archive-path, extract-to-dir, resize."""

    TYPE: ClassVar[str] = "container.record_access"
    container: str
    action: str
    attributes: dict[str, str] = {}


class PutArchive(Command[None], frozen=True, kw_only=True):
    """Put a tar (plain or compressed) that lies in the file `archive` into a directory of it, running or not."""

    TYPE: ClassVar[str] = "container.put_archive"
    container: str
    archive: str
    path: str
    no_overwrite_dir_non_dir: bool = False
    copy_uid_gid: bool = False  # its user owns everything


class CommitContainer(Command[CommittedImage], frozen=True, kw_only=True):
    """Make an image of it. `pause`: its processes stand still while its files are read.

    `config` None: its own configuration is the image's. Its changes lie at `path`, a new file, meanwhile.
    """

    TYPE: ClassVar[str] = "container.commit"
    container: str
    path: str
    reference: str = ""  # canonical, or "" for none
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: tuple[str, ...] = ()  # Dockerfile instructions
    config: RunConfig | None = None


# ---- events (stream `container/<id>`)


class ContainerCreateRequested(Event, frozen=True, kw_only=True):
    """Intent; takes the claim `name/<name>`.

    `config` and `host` come without what is in `secrets` (sealed ContainerSecrets); of a health check's test the kind
    is left, its first word, and of log options their names.
    """

    TYPE: ClassVar[str] = "container.create_requested"
    container_id: str
    name: str
    image_id: str
    image_reference: str  # as shown to people: familiar name or id
    config: ContainerConfig
    host: HostConfig
    secrets: Sealed
    endpoints: dict[str, EndpointConfig] = {}
    mounts: tuple[MountPoint, ...] = ()
    platform: str = "linux"


class ContainerCreated(Event, frozen=True, kw_only=True):
    """It can be started."""

    TYPE: ClassVar[str] = "container.created"
    container_id: str


class ContainerCreateFailed(Event, frozen=True, kw_only=True):
    """Nothing of it is left; releases the claims."""

    TYPE: ClassVar[str] = "container.create_failed"
    container_id: str
    error: str


class ContainerStartRequested(Event, frozen=True, kw_only=True):
    """Intent: file system, mounts, network and process will be made. `run` counts its starts from 1."""

    TYPE: ClassVar[str] = "container.start_requested"
    SCHEMA: ClassVar[int] = 2
    container_id: str
    run: int
    attempt: int = 0  # of the restart policy; 0: somebody asked for the start


class ContainerStarted(Event, frozen=True, kw_only=True):
    """The process runs."""

    TYPE: ClassVar[str] = "container.started"
    container_id: str
    pid: int
    started_at_ns: int
    apparmor_profile: str = ""  # which it runs under, "unconfined", or "" where there is no AppArmor


class ContainerStartFailed(Event, frozen=True, kw_only=True):
    """What the start had made is gone again, but for `leftovers`."""

    TYPE: ClassVar[str] = "container.start_failed"
    container_id: str
    exit_code: int  # 127 not found, 126 not executable, 128 anything else
    error: str
    leftovers: tuple[str, ...] = ()  # what could not be undone, and why


class ContainerStopRequested(Event, frozen=True, kw_only=True):
    """Intent: it is to be stopped, and no restart policy starts it again. `asked`: by somebody, not by the engine."""

    TYPE: ClassVar[str] = "container.stop_requested"
    SCHEMA: ClassVar[int] = 2
    container_id: str
    timeout_s: int
    signal: int
    asked: bool = True


class ContainerStopped(Event, frozen=True, kw_only=True):
    """A stop has ended with the process ended."""

    TYPE: ClassVar[str] = "container.stopped"
    container_id: str


class ContainerStopFailed(Event, frozen=True, kw_only=True):
    """It runs on."""

    TYPE: ClassVar[str] = "container.stop_failed"
    container_id: str
    error: str


class ContainerRestartRequested(Event, frozen=True, kw_only=True):
    """Intent: it will be stopped if it runs, then started; until then nobody removes it."""

    TYPE: ClassVar[str] = "container.restart_requested"
    container_id: str


class ContainerRestartFailed(Event, frozen=True, kw_only=True):
    """It couldn't be stopped, or not started again."""

    TYPE: ClassVar[str] = "container.restart_failed"
    container_id: str
    error: str


class ContainerRestarted(Event, frozen=True, kw_only=True):
    """A restart command is done."""

    TYPE: ClassVar[str] = "container.restarted"
    container_id: str


class ContainerKillRequested(Event, frozen=True, kw_only=True):
    """Intent: a signal is about to be sent. `asked`: by a client's kill, not as part of a stop.

    `for_good`: when its process ends, no restart policy starts it again.
    """

    TYPE: ClassVar[str] = "container.kill_requested"
    SCHEMA: ClassVar[int] = 2
    container_id: str
    signal: int
    asked: bool = True
    for_good: bool = False


class ContainerKilled(Event, frozen=True, kw_only=True):
    """The signal was sent."""

    TYPE: ClassVar[str] = "container.killed"
    container_id: str
    signal: int


class ContainerKillFailed(Event, frozen=True, kw_only=True):
    """It wasn't, or after a crash nobody knows."""

    TYPE: ClassVar[str] = "container.kill_failed"
    container_id: str
    signal: int
    error: str


class ContainerExitObserved(Event, frozen=True, kw_only=True):
    """Its process has ended; intent to take down what served it."""

    TYPE: ClassVar[str] = "container.exit_observed"
    container_id: str
    exit_code: int
    oom_killed: bool
    finished_at_ns: int


class ContainerDied(Event, frozen=True, kw_only=True):
    """What served the process is gone, but for `leftovers`: the removal tries them again."""

    TYPE: ClassVar[str] = "container.died"
    container_id: str
    exit_code: int
    run_s: int  # whole seconds that it ran
    leftovers: tuple[str, ...] = ()  # what could not be taken down, and why


class ContainerRestartScheduled(Event, frozen=True, kw_only=True):
    """Its restart policy will start it again. `run` is the one that ended, `attempt` counts since somebody's start."""

    TYPE: ClassVar[str] = "container.restart_scheduled"
    container_id: str
    run: int
    attempt: int
    delay_ms: int
    due_ns: int  # wall clock


class ContainerRestartCancelled(Event, frozen=True, kw_only=True):
    """Somebody stopped it while it waited for its restart: it stays as it is."""

    TYPE: ClassVar[str] = "container.restart_cancelled"
    container_id: str


class ContainerPauseRequested(Event, frozen=True, kw_only=True):
    """Intent."""

    TYPE: ClassVar[str] = "container.pause_requested"
    container_id: str


class ContainerPaused(Event, frozen=True, kw_only=True):
    """Its processes are frozen."""

    TYPE: ClassVar[str] = "container.paused"
    container_id: str


class ContainerUnpauseRequested(Event, frozen=True, kw_only=True):
    """Intent."""

    TYPE: ClassVar[str] = "container.unpause_requested"
    container_id: str


class ContainerUnpaused(Event, frozen=True, kw_only=True):
    """They go on."""

    TYPE: ClassVar[str] = "container.unpaused"
    container_id: str


class ContainerFreezeFailed(Event, frozen=True, kw_only=True):
    """A pause or an unpause didn't happen; `paused` is the state that remains."""

    TYPE: ClassVar[str] = "container.freeze_failed"
    container_id: str
    paused: bool
    error: str


class ContainerUpdateRequested(Event, frozen=True, kw_only=True):
    """Intent: its limits and restart policy become those of `host`, and its cgroup's."""

    TYPE: ClassVar[str] = "container.update_requested"
    container_id: str
    host: HostConfig  # as in ContainerCreateRequested, without secrets


class ContainerUpdated(Event, frozen=True, kw_only=True):
    """They are."""

    TYPE: ClassVar[str] = "container.updated"
    container_id: str
    host: HostConfig


class ContainerUpdateFailed(Event, frozen=True, kw_only=True):
    """They stay as they were in the configuration; part of them may act on the present run."""

    TYPE: ClassVar[str] = "container.update_failed"
    container_id: str
    error: str


class ContainerRenamed(Event, frozen=True, kw_only=True):
    """It has another name; moves the claim."""

    TYPE: ClassVar[str] = "container.renamed"
    container_id: str
    old_name: str
    name: str


class ContainerLinkRemoved(Event, frozen=True, kw_only=True):
    """It has a link less; its next start doesn't know the other by that name."""

    TYPE: ClassVar[str] = "container.link_removed"
    container_id: str
    alias: str


class ContainerHealthChanged(Event, frozen=True, kw_only=True):
    """Its probes came to another result: healthy or unhealthy."""

    TYPE: ClassVar[str] = "container.health_changed"
    container_id: str
    status: str


class ContainerAccessed(Event, frozen=True, kw_only=True):
    """Somebody looked into it."""

    TYPE: ClassVar[str] = "container.accessed"
    container_id: str
    action: str
    attributes: dict[str, str] = {}


class ContainerExtractRequested(Event, frozen=True, kw_only=True):
    """Intent: files of an archive will be written into the directory `path` of it."""

    TYPE: ClassVar[str] = "container.extract_requested"
    container_id: str
    path: str
    size_bytes: int  # of the archive as it came


class ContainerExtracted(Event, frozen=True, kw_only=True):
    """All files of the archive are there."""

    TYPE: ClassVar[str] = "container.extracted"
    container_id: str
    path: str


class ContainerExtractFailed(Event, frozen=True, kw_only=True):
    """Some of them may be there, others aren't."""

    TYPE: ClassVar[str] = "container.extract_failed"
    container_id: str
    path: str
    error: str


class ContainerCommitRequested(Event, frozen=True, kw_only=True):
    """Intent: an image will be made of it. `pauses`: it is paused for that, and goes on afterwards."""

    TYPE: ClassVar[str] = "container.commit_requested"
    container_id: str
    reference: str
    comment: str
    pauses: bool


class ContainerCommitted(Event, frozen=True, kw_only=True):
    """The image is there. `reference` is as shown to people, "" for none."""

    TYPE: ClassVar[str] = "container.committed"
    container_id: str
    image_id: str
    reference: str
    comment: str


class ContainerCommitFailed(Event, frozen=True, kw_only=True):
    """There is no image."""

    TYPE: ClassVar[str] = "container.commit_failed"
    container_id: str
    error: str


class ContainerRemoveRequested(Event, frozen=True, kw_only=True):
    """Intent: all that belongs to it goes."""

    TYPE: ClassVar[str] = "container.remove_requested"
    container_id: str
    volumes: bool


class ContainerRemoveFailed(Event, frozen=True, kw_only=True):
    """Part of it is left: it is dead, keeps its claims, and can be removed again."""

    TYPE: ClassVar[str] = "container.remove_failed"
    container_id: str
    error: str


class ContainerRemoved(Event, frozen=True, kw_only=True):
    """Nothing of it is left; releases the claims."""

    TYPE: ClassVar[str] = "container.removed"
    container_id: str
