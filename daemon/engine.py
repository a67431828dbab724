"""The engine's life: log, bus, handlers, recovery, API, signals, and an end that leaves containers running."""

import gc
import logging
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.abc

from daemon import host, information
from daemon.api.engine import Engine
from daemon.api.refusals import record_unrouted
from daemon.api.routes import routes
from daemon.api.usage import DirectoryUsage
from daemon.bootstrap import Composition, compose, scratch
from daemon.bus.client import Bus
from daemon.bus.dispatcher import Dispatcher, Table
from daemon.bus.relay import Relay
from daemon.bus.server import BusServer
from daemon.config import Configuration, reload
from daemon.directives import DEFAULT_INSTANCE
from daemon.failpoints import Failpoints
from daemon.feed import Feed
from daemon.flags import ConfigurationInvalid
from daemon.health import HealthChecks
from daemon.http.notify import Notifier
from daemon.http.server import Server
from daemon.http.sockets import Listener, Opening, open_listeners
from daemon.http.tls import server_context
from daemon.log_care import Checkpoints, LogCare
from daemon.log_check import checked_apart
from daemon.logs import LogKeeping
from daemon.past import Past
from daemon.policies import PolicyRunner
from daemon.recovery import recover
from daemon.shapes.information import Component, Information
from daemon.shapes.layout import Layout
from daemon.snapshots import SnapshotTaker
from daemon.tools import Tools, components, find_tools
from daemon.unread import forget_unread
from daemon.watch import StreamWatcher
from events.checkpoints import Checkpoint, Signer
from events.envelope import ENGINE, Cause
from events.errors import Unavailable
from events.file_keyring import FileKeyring
from events.log import Append, LogBroken
from events.log_directory import DirectoryLock
from events.messages.container import StopContainer
from events.messages.system import EngineReloaded, EngineStarted, EngineStopped
from events.projections.state import State
from events.snapshot_directory import SnapshotDirectory, state_at
from events.sqlite_log import SqliteLog
from handlers.context import RandomIds, Services, SystemClock
from handlers.exec.drivers.ps import ProcessTable
from handlers.instance import Instance
from handlers.kernel.memory import give_back
from handlers.kernel.writeback import begin_writeback
from handlers.progress import Progress
from handlers.registry import table

LOGGER = logging.getLogger(__name__)
STREAM = "system/engine"
REQUEST_GRACE_S = 5.0
COMMAND_GRACE_S = 10.0
DIRECTORY_MODE = 0o711  # containers' own directories below are reached by users' mounts, never listed


async def run(configuration: Configuration) -> None:
    """Run until SIGTERM or SIGINT, or until the log breaks. Raises EngineError when it can't start or go on."""
    notifier = Notifier(os.environ)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async with anyio.create_task_group() as listening:
            signals = Signals()
            listening.start_soon(signals.listen, received)
            await _live(configuration, notifier, signals)
            listening.cancel_scope.cancel("the engine has ended")


class Signals:
    """What the process was told, from its first moment to its last."""

    def __init__(self) -> None:
        self.stop, self.reload = anyio.Event(), anyio.Event()

    async def listen(self, received: AsyncIterator[signal.Signals]) -> None:
        """Sort signals into the two events; runs until cancelled."""
        async for each in received:
            LOGGER.info("received %s", each.name)
            (self.reload if each == signal.SIGHUP else self.stop).set()


async def _live(configuration: Configuration, notifier: Notifier, signals: Signals) -> None:
    """Boot, serve, stop. Told to stop while it boots, it gives up what it has begun and leaves the rest to recovery."""
    ready = anyio.Event()

    async def give_up() -> None:
        await signals.stop.wait()
        if not ready.is_set():
            whole.cancel_scope.cancel("told to stop before it was ready")

    async with anyio.create_task_group() as whole:
        whole.start_soon(give_up)
        async with AsyncExitStack() as stack:
            daemon, tasks = await _boot(configuration, stack)
            ready.set()
            await daemon.serve(tasks, notifier, signals)
            tasks.cancel_scope.cancel("the engine stops")
        whole.cancel_scope.cancel("the engine has stopped")


async def _boot(configuration: Configuration, stack: AsyncExitStack) -> tuple["Daemon", anyio.abc.TaskGroup]:
    """Locks first, then what can fail without a trace (sockets), then log, bus and recovery."""
    instance, clock = configuration.instance, SystemClock()
    tools = find_tools(configuration.runtimes, init=configuration.init and not configuration.init_path)
    prepare_directories(configuration)
    stack.enter_context(instance_lock(instance))
    stack.enter_context(DirectoryLock(instance.exec_root / "bus"))
    snapshots = SnapshotDirectory(instance.data_root / "snapshots")
    log = await stack.enter_async_context(SqliteLog.open(instance.data_root / "log", clock, snapshots))
    listeners = await anyio.to_thread.run_sync(open_sockets, configuration)
    for listener in listeners:
        stack.callback(listener.close)
    stack.enter_context(pidfile(configuration.pidfile))
    clear_scratch(scratch(configuration))
    bus = await stack.enter_async_context(open_bus(configuration, tools))
    tasks = await stack.enter_async_context(anyio.create_task_group())
    signer = await anyio.to_thread.run_sync(Signer.open, instance.data_root / "checkpoints")
    checkpoints = Checkpoints(log, signer, clock)
    daemon = Daemon(configuration, tools, log, snapshots, checkpoints, bus, clock, listeners)
    await daemon.start(tasks)
    return daemon, tasks


@contextmanager
def instance_lock(instance: Instance) -> Iterator[None]:
    """Bridges and firewall tables bear the instance's name: one engine of a name in one network namespace.

    An abstract socket (unix(7)) is bound to the network namespace, as they are. Raises Unavailable.
    """
    with socket.socket(socket.AF_UNIX) as holder:
        try:
            holder.bind(f"\0shiplog/{instance.bridge}")
        except OSError as error:
            raise Unavailable(
                f"another engine of the instance {instance.name} runs in this network namespace: use --instance NAME"
            ) from error
        yield


def open_sockets(configuration: Configuration) -> list[Listener]:
    """Everything that -H names. Clients that connect from now on wait until the engine is ready."""
    tls = configuration.tls
    opening = Opening(
        group=configuration.group,
        tls=server_context(ca=tls.authority, certificate=tls.certificate, key=tls.key) if tls else None,
        allow_plain_tcp=configuration.allow_unauthenticated_tcp,
    )
    return open_listeners(configuration.hosts, opening, environment=os.environ)


@asynccontextmanager
async def open_bus(configuration: Configuration, tools: Tools) -> AsyncIterator[Bus]:
    """The private bus, its server watched over until the end of the block."""
    server = BusServer(tools.nats_server, configuration.instance.exec_root / "bus")
    try:
        await server.start()
        async with Bus(configuration.instance.name) as bus, anyio.create_task_group() as tasks:
            await bus.connect(server.url, server.token)
            tasks.start_soon(server.supervise, bus.move)
            yield bus
            tasks.cancel_scope.cancel("the engine stops")
    finally:
        await server.stop()


def prepare_directories(configuration: Configuration) -> None:
    """The roots, private but passable: what users mount lies below them."""
    instance = configuration.instance
    for directory in (instance.data_root, instance.exec_root, configuration.pidfile.parent):
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


async def replay(log: SqliteLog, state: State) -> None:
    """Bring the state up to the log's head.

    What is folded stays: looking for garbage in it again and again takes a third of the time, and finds none.
    """
    gc.disable()
    try:
        await log.replay(state, checked_apart)
    finally:
        gc.enable()
    gc.freeze()


def clear_scratch(directory: Path) -> None:
    """Uploads that a killed daemon was receiving go."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def pidfile(path: Path) -> Iterator[None]:
    """Tells others our pid while we run; the locks are what keeps a second daemon away."""
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class Daemon:
    """One run of the engine."""

    def __init__(
        self,
        configuration: Configuration,
        tools: Tools,
        log: SqliteLog,
        snapshots: SnapshotDirectory,
        checkpoints: Checkpoints,
        bus: Bus,
        clock: SystemClock,
        listeners: list[Listener],
    ) -> None:
        self._configuration = configuration
        self._listeners = listeners
        self._tools = tools
        self._log, self._bus, self._clock = log, bus, clock
        self._state, self._watcher = State(), StreamWatcher()
        self._snapshots, self._checkpoints = snapshots, checkpoints
        self._taker: SnapshotTaker | None = None
        self._keyring = FileKeyring(configuration.instance.data_root / "keys")
        self._failpoints = Failpoints.of(os.environ)
        if self._failpoints is not None:
            self._failpoints.surround_log(log)
            self._failpoints.surround_bus(bus)
            self._failpoints.surround_drivers({"keys": self._keyring})
        self._services = Services(
            log=log,
            state=self._state,
            clock=clock,
            ids=RandomIds(),
            keyring=self._keyring,
            sender=bus.send,
            watcher=self._watcher,
        )
        self._cause = Cause(actor=ENGINE, command_id=f"engine-{RandomIds().new()[:32]}", correlation_id="engine")
        self._feed = Feed(log)
        self._relay = relay(configuration, self._feed)
        self._progress = Progress()
        self._composition: Composition | None = None
        self._health: HealthChecks | None = None
        self._components: tuple[Component, ...] = ()

    async def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Fold the log, answer commands, settle what is open."""
        kept = await self._checkpoints.check()
        await self._fold()
        self._composition = await compose(
            self._configuration,
            self._tools,
            self._log.id,
            tasks,
            registries=lambda: self._configuration.registries,
            progress=self._progress,
        )
        self._components = await components(self._tools)
        commands: Table = table(self._composition.handlers)
        if self._failpoints is not None:
            self._failpoints.surround_drivers(self._composition.drivers)
            self._failpoints.surround_registries(self._composition.registries)
            self._failpoints.surround_recovery(self._composition.handlers)
            commands = self._failpoints.table(commands)
        dispatcher = Dispatcher(commands, self._services)
        await self._bus.serve(dispatcher.handle)
        policies = PolicyRunner(self._log, self._state, self._bus.send, self._clock)
        await tasks.start(policies.run, self._log.head)
        tasks.start_soon(self._composition.networks.keep)
        await recover(self._composition.handlers, self._services, tasks)
        self._look_after_log(tasks, kept)
        self._health = HealthChecks(self._services, self._composition.probes, tasks)
        self._health.begin()
        LogKeeping(self._services, self._composition.runtime, tasks).begin()
        await self._record(EngineStarted(version=version("shiplog"), boot_id=host.boot_id(), pid=os.getpid()))
        if self._relay is not None:
            tasks.start_soon(self._relay.run)

    def _look_after_log(self, tasks: anyio.abc.TaskGroup, kept: Sequence[Checkpoint]) -> None:
        self._taker = SnapshotTaker(self._log, self._state, self._snapshots)
        care = LogCare(self._log, self._configuration.instance.data_root / "log", self._taker, kept)
        for each in (self._taker.run, self._checkpoints.run, care.run):
            tasks.start_soon(each)

    async def _fold(self) -> None:
        await replay(self._log, self._state)
        self._log.listen(self._state.apply)
        self._log.listen(self._watcher.notify)

    async def serve(self, tasks: anyio.abc.TaskGroup, notifier: Notifier, signals: Signals) -> None:
        """Serve the API until told to stop. Raises LogBroken when that is what ended it."""
        on_unrouted = partial(record_unrouted, self._log, self._services.ids)
        engine = self._engine()
        self._log.listen(engine.answers.forget)
        tasks.start_soon(forget_unread, engine.past, self._log)
        server = Server(
            routes(engine), common_headers=common_headers(), on_unrouted=on_unrouted, on_spooled=begin_writeback
        )
        await tasks.start(server.serve, self._listeners)
        notifier.ready()
        give_back()
        LOGGER.info("the engine serves on %s", ", ".join(listener.address for listener in self._listeners))
        broken: list[LogBroken] = []
        async with anyio.create_task_group() as serving:
            serving.start_soon(self._reload_when_told, signals, notifier)
            serving.start_soon(self._stop_when_broken, signals, broken)
            await signals.stop.wait()
            serving.cancel_scope.cancel("the engine stops")
        notifier.stopping()
        await server.close(REQUEST_GRACE_S)
        if broken:
            raise broken[0]
        await self._stop()

    async def _reload_when_told(self, signals: Signals, notifier: Notifier) -> None:
        while True:
            await signals.reload.wait()
            signals.reload = anyio.Event()
            notifier.reloading()
            await self._reload()
            notifier.ready()

    async def _stop_when_broken(self, signals: Signals, broken: list[LogBroken]) -> None:
        if (error := await self._log.wait_broken()) is not None:
            broken.append(error)
            signals.stop.set()

    async def _reload(self) -> None:
        try:
            read = await anyio.to_thread.run_sync(reload, self._configuration)
        except ConfigurationInvalid as error:
            LOGGER.error("the configuration stays as it is: %s", error)  # noqa: TRY400 - the text says it all
            return
        self._configuration = read.configuration
        logging.getLogger().setLevel(read.configuration.logging_level)
        if read.postponed:
            LOGGER.warning("these take effect at the next start only: %s", ", ".join(read.postponed))
        await self._record(EngineReloaded(changed=read.changed))

    async def _stop(self) -> None:
        """Containers go on; with --live-restore=false they are stopped too, as dockerd does."""
        if not self._configuration.live_restore:
            await self._stop_containers()
        if not await self._bus.idle(COMMAND_GRACE_S):
            LOGGER.warning("some commands are still running: the next start settles what they leave open")
        await self._record(EngineStopped(reason="signal"))
        await self._checkpoints.finish()
        if self._taker is not None:
            await self._taker.finish()

    async def _stop_containers(self) -> None:
        timeout_s = self._configuration.shutdown_timeout_s
        with anyio.move_on_after(None if timeout_s < 0 else timeout_s):
            async with anyio.create_task_group() as stopping:
                for container in list(self._state.containers):
                    if container.is_live:
                        stopping.start_soon(self._stop_container, container.id)

    async def _stop_container(self, container_id: str) -> None:
        try:
            command_id = f"{self._cause.command_id}-{container_id}"
            command = StopContainer(container=container_id, asked=False)
            await self._bus.send(command, command_id=command_id, cause=self._cause)
        except Exception:
            LOGGER.exception("container %s could not be stopped", container_id)

    async def _record(self, event: EngineStarted | EngineStopped | EngineReloaded) -> None:
        await self._log.append((Append(stream=STREAM, events=(event,)),), cause=self._cause)

    def _engine(self) -> Engine:
        composition = self._made()
        instance = self._configuration.instance
        layout = Layout(
            data_root=str(instance.data_root),
            exec_root=str(instance.exec_root),
            storage_driver=composition.graph.name,
        )
        return Engine(
            state=self._state,
            log=self._log,
            feed=self._feed,
            checkpoints=self._checkpoints,
            past=Past(partial(state_at, self._log, self._snapshots)),
            relay=self._relay,
            keyring=self._keyring,
            streams=composition.runtime,
            watcher=self._watcher,
            clock=self._clock,
            ids=self._services.ids,
            requester=self._bus,
            progress=self._progress,
            registries=composition.registries,
            usage=DirectoryUsage(layout),
            information=self._information,
            layout=layout,
            processes=composition.runtime.processes,
            measure=composition.runtime.measure,
            process_table=ProcessTable(),
            scratch=scratch(self._configuration),
            files=composition.files,
            health=self._health.of if self._health else lambda _: None,
            layer_tars=composition.tars,
            image_content=composition.content,
        )

    def _made(self) -> Composition:
        if self._composition is None:
            raise RuntimeError("the engine was not started")
        return self._composition

    def _information(self) -> Information:
        composition = self._made()
        return information.collect(
            self._configuration,
            self._tools,
            self._components,
            composition.facts,
            composition.graph.name,
            (*composition.graph.describe(), *composition.graph_choice),
            self._log.id,
            composition.warnings,
        )


def relay(configuration: Configuration, feed: Feed) -> Relay | None:
    """The relay that `--nats-url` asks for; several engines of one host have a stream each."""
    if not configuration.nats_servers:
        return None
    name = configuration.instance.name
    suffix = "" if name == DEFAULT_INSTANCE else f"-{name}"
    return Relay(feed, configuration.nats_servers, host.host_name() + suffix)


def common_headers() -> dict[str, str]:
    """On every answer; clients tell a Docker Engine by them."""
    return {
        "Server": f"Docker/{version('shiplog')} (linux)",
        "Api-Version": "1.51",
        "Ostype": "linux",
        "Docker-Experimental": "false",
    }
