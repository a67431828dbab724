"""What the host has of an engine beside what its log says it has; every difference is something lost or left behind."""

import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import msgspec

from events.log_directory import newest_segment
from events.projections.containers import Container
from events.projections.state import State
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from handlers.layers.decide import known_cache_ids
from handlers.layers.drivers.overlay2 import short_name
from handlers.networks.decide import HOST, claims_of, shared_with
from tests.engines import EngineUnderTest

RUN_DIGITS, EXEC_DIGITS = 24, 16  # of the names in exec-root, see handlers/exec/drivers/layout.py
_OWNER = re.compile(r"[0-9a-f]{64}")


class Log(msgspec.Struct, frozen=True):
    """What a copy of the log says."""

    state: State
    head: int
    claims: frozenset[str]
    commands: frozenset[str]  # ids of those that left an event

    @property
    def live(self) -> tuple[Container, ...]:
        """Containers with a process."""
        return tuple(container for container in self.state.containers if container.is_live)


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    """A copy of a log that may be in use; gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="sl") as place:
        source = newest_segment(directory)
        assert source is not None
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(Path(place, source.name))) as copy:
            original.backup(copy)
        yield Path(place)


class Reader:
    """Reads a log on from where it was read before; all of it each time would take most of a check's time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._state, self._commands = State(), set[str]()

    def read(self, *, verify: bool = False) -> Log:
        """Copy the log, fold what is new. Its end is verified at any rate, with `verify` all of it.

        The state is the same object each time, brought up to date.
        """
        with copied(self._directory) as copy:
            return anyio.run(self._fold, copy, verify)

    async def _fold(self, copy: Path, verify: bool) -> Log:
        async with SqliteLog.open(copy, SystemClock()) as log:
            if verify:
                await log.verify()
            async for recorded in log.read(self._state.sequence, limit=0):
                self._state.apply((recorded,))
                self._commands.add(recorded.cause.command_id)
            return Log(self._state, log.head, frozenset(log._ledger.holders), frozenset(self._commands))


def read_log(directory: Path) -> Log:
    """Copy the log, verify all of it, fold it."""
    return Reader(directory).read(verify=True)


def open_intents(log: Log) -> Iterator[str]:
    """Everything that was begun and neither done nor undone."""
    for c in log.state.containers:
        if c.operation or c.kills:
            yield f"container {c.name}: open {c.operation or 'kill'}"
        if c.commits or c.extractions:
            yield f"container {c.name}: open commits {c.commits}, open extractions {c.extractions}"
        if c.leftovers:
            yield f"container {c.name}: {c.leftovers}"
    for process in log.state.execs:
        if process.status == "starting":
            yield f"exec {process.id}: starting"
    for image in log.state.images:
        if image.status != "ready":
            yield f"image {image.id}: {image.status}"
    for layer in log.state.layers:
        if layer.status != "ready":
            yield f"layer {layer.chain_id}: {layer.status}"
    for volume in log.state.volumes:
        if volume.status != "ready" or volume.populating:
            yield f"volume {volume.name}: {volume.status}, populating: {volume.populating}"
    for sandbox in log.state.sandboxes:
        if sandbox.status != "connected":
            yield f"sandbox {sandbox.container_id}: {sandbox.status}"


def differences(engine: EngineUnderTest, log: Log) -> list[str]:
    """Everything that is on the host and not in the log, or the other way round."""
    checks: tuple[Callable[[EngineUnderTest, Log], Iterator[str]], ...] = (
        _references,
        _claims,
        _keys,
        _files,
        _runs,
        _mounts,
        _processes,
        _groups,
        _network,
    )
    return [*open_intents(log), *(line for check in checks for line in check(engine, log))]


def _differ(what: str, expected: Iterable[str], found: Iterable[str]) -> Iterator[str]:
    wanted, there = set(expected), set(found)
    yield from (f"{what}: {name} is missing" for name in sorted(wanted - there))
    yield from (f"{what}: {name} is left behind" for name in sorted(there - wanted))


def _references(_: EngineUnderTest, log: Log) -> Iterator[str]:
    """Who uses what, as the used ones tell it."""
    state = log.state
    containers = {c.id: c for c in state.containers}
    live = {c.id for c in log.live}
    for image in state.images:
        users = {c.id for c in containers.values() if c.image_id == image.id}
        yield from _differ(f"users of image {image.id[:19]}", users, state.images.users(image.id))
    for volume in state.volumes:
        users = {c.id for c in containers.values() for point in c.mounts if point.name == volume.name}
        yield from _differ(f"users of volume {volume.name}", users, volume.users)
        yield from _differ(f"volume {volume.name} is mounted by", users & live, volume.mounted_by)
    for layer in state.layers:
        holders = {image.id for image in state.images if layer.chain_id in image.layers}
        yield from _differ(f"holders of layer {layer.chain_id[:19]}", holders, layer.holders)
    yield from _differ("sandboxes", live, (sandbox.container_id for sandbox in state.sandboxes))


def _claims(_: EngineUnderTest, log: Log) -> Iterator[str]:
    state = log.state
    expected = {f"name/{c.name}" for c in state.containers} | {f"volume/{volume.name}" for volume in state.volumes}
    expected |= {f"reference/{name}" for image in state.images for name in image.references}
    expected |= {f"network/{network.name}" for network in state.networks}
    for sandbox in state.sandboxes:
        expected |= set(claims_of(sandbox.endpoints, sandbox.ports))
    yield from _differ("claims", expected, log.claims)


def _keys(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    expected = {f"container/{c.id}" for c in log.state.containers}
    expected |= {f"volume/{volume.name}" for volume in log.state.volumes if volume.options}
    expected |= {f"image/{image.id}" for image in log.state.images if image.secrets}
    found = (json.loads(path.read_bytes())["owner"] for path in _entries(engine.data_root / "keys"))
    yield from _differ("keys", expected, found)


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _names(directory: Path) -> set[str]:
    return {path.name for path in _entries(directory)}


def _files(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    root, state = engine.data_root, log.state
    containers = {c.id for c in state.containers}
    yield from _differ("containers/", _names(root / "containers") & containers, _names(root / "containers"))
    cached = known_cache_ids(state)
    yield from _differ("overlay2/", {*cached, "l"}, _names(root / "overlay2"))
    yield from _differ("overlay2/l/", {"empty", *map(short_name, cached)}, _names(root / "overlay2" / "l"))
    yield from _differ("volumes/", (volume.name for volume in state.volumes), _names(root / "volumes"))
    for volume in state.volumes:
        known = {"_data", ".shiplog", ".shiplog-device"}
        yield from _differ(
            f"volumes/{volume.name}/", {"_data"}, _names(root / "volumes" / volume.name) - known | {"_data"}
        )
    images = (image.id.removeprefix("sha256:") for image in state.images)
    yield from _differ("content/", images, _names(root / "content" / "sha256"))
    yield from _differ("tmp/", (), _names(root / "tmp"))


def _running_execs(log: Log, container_id: str) -> set[str]:
    return {process.id for process in log.state.execs.of(container_id) if process.status == "running"}


def _runs(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    live = {c.id for c in log.live}
    runs = engine.exec_root / "c"
    yield from _differ("runs", (name[:RUN_DIGITS] for name in live), _names(runs))
    for container_id in live:
        execs = {name[:EXEC_DIGITS] for name in _running_execs(log, container_id)}
        yield from _differ("execs", execs, _names(runs / container_id[:RUN_DIGITS] / "e"))
    found = {path.name for runtime in _entries(engine.exec_root / "r") for path in _entries(runtime)}
    yield from _differ("runtime's state", live, found)


def _mounts(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    expected = {str(engine.data_root / "overlay2" / f"container-{c.id}" / "merged") for c in log.live}
    expected |= {str(engine.exec_root / "netns" / c.id) for c in _pinned(log)}
    expected |= {
        str(engine.exec_root / "c" / c.id[:RUN_DIGITS] / "shm") for c in log.live if c.host.ipc_mode == "shareable"
    }
    expected |= {volume.mountpoint for volume in log.state.volumes if volume.options and volume.mounted_by}
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    own = {str(engine.data_root / "overlay2"), str(engine.exec_root / "netns")}  # made private, or shared, once
    found = [place for place in places if str(engine.directory) in place and place not in own]
    yield from _differ("mounts", expected, found)
    if len(found) != len(set(found)):
        yield f"mounted twice: {sorted(found)}"
    yield from _differ("pinned namespaces", (c.id for c in _pinned(log)), _names(engine.exec_root / "netns"))


def _pinned(log: Log) -> Iterator[Container]:
    return (c for c in log.live if c.host.network_mode != HOST and not shared_with(c.host.network_mode))


def _processes(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    """One conmon for each process of a container, one bus, one forwarder at most, and the daemon."""
    monitors = []
    daemon = engine.process.pid if engine.process is not None else 0
    for pid, arguments in engine._processes(forwarders=True):
        if "conmon" in arguments.split(" ", 1)[0]:
            monitors.append(arguments.split(" -b ")[-1].split()[0])
        elif not (pid == daemon or "nats-server" in arguments or "forward" in arguments):
            yield f"process {pid}: {arguments}"
    expected = sum(1 + len(_running_execs(log, c.id)) for c in log.live)
    if len(monitors) != expected:
        yield f"{len(monitors)} of conmon instead of {expected}: {sorted(monitors)}"


def _groups(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    parent = engine.names.cgroup_parent.lstrip("/")
    roots = (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir())
    found = {path.name for root in roots for path in _entries(root / parent) if path.is_dir()}
    yield from _differ("control groups", (c.id for c in log.live), found)


def _network(engine: EngineUnderTest, log: Log) -> Iterator[str]:
    sandboxes = tuple(log.state.sandboxes)
    endpoints = [endpoint for sandbox in sandboxes for endpoint in sandbox.endpoints if endpoint.address]
    links = {engine.names.link_prefix + endpoint.endpoint_id[:8] for endpoint in endpoints}
    listed = engine.inside("ip", "-br", "link").stdout.decode().splitlines()
    yield from _differ("links", links, (line.split("@")[0] for line in listed if "@" in line))
    rules = engine.inside("nft", "-j", "list", "ruleset").stdout.decode()
    published = {sandbox.container_id for sandbox in sandboxes if sandbox.ports}
    yield from _differ("published ports", published, _OWNER.findall(rules))
    ports = {port.host_port for sandbox in sandboxes for port in sandbox.ports if port.protocol == "tcp"}
    yield from _differ("held ports", map(str, ports), _listening(engine))


def _listening(engine: EngineUnderTest) -> Iterator[str]:
    """Ports that the forwarder listens on."""
    for line in engine.inside("ss", "-Hltnp").stdout.decode().splitlines():
        if not any(program in line for program in ("nats-server", "docker-registry")):
            yield line.split()[3].rpartition(":")[2]
