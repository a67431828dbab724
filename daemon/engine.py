"""The engine's life: log, bus, handlers, recovery, API, signals, and an end that leaves containers running."""

import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.abc

from daemon import host, information
from daemon.api.engine import Engine
from daemon.api.routes import routes
from daemon.api.usage import DirectoryUsage
from daemon.bootstrap import Composition, compose, scratch
from daemon.bus.client import Bus
from daemon.bus.dispatcher import Dispatcher
from daemon.bus.server import BusServer
from daemon.config import Configuration, reload
from daemon.flags import ConfigurationInvalid
from daemon.http.notify import Notifier
from daemon.http.server import Server
from daemon.http.sockets import Listener, Opening, open_listeners
from daemon.http.tls import server_context
from daemon.policies import PolicyRunner
from daemon.recovery import recover
from daemon.shapes.information import Component, Information
from daemon.shapes.layout import Layout
from daemon.tools import Tools, components, find_tools
from daemon.watch import StreamWatcher
from events.envelope import ENGINE, Cause
from events.file_keyring import FileKeyring
from events.log import Append, LogBroken
from events.messages.container import StopContainer
from events.messages.system import EngineReloaded, EngineStarted, EngineStopped
from events.projections.state import State
from events.sqlite_log import SqliteLog
from handlers.context import RandomIds, Services, SystemClock
from handlers.exec.drivers.ps import ProcessTable
from handlers.registry import table

LOGGER = logging.getLogger(__name__)
STREAM = "system/engine"
REQUEST_GRACE_S = 5.0
COMMAND_GRACE_S = 10.0
DIRECTORY_MODE = 0o711  # containers' own directories below are reached by users' mounts, never listed


async def run(configuration: Configuration) -> None:
    """Run until SIGTERM or SIGINT, or until the log breaks. Raises EngineError when it can't start."""
    notifier = Notifier(os.environ)
    tools = find_tools(configuration.runtimes, init=configuration.init)
    clock = SystemClock()
    prepare_directories(configuration)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(SqliteLog.open(configuration.instance.data_root / "log", clock))
        stack.enter_context(pidfile(configuration.pidfile))
        clear_scratch(scratch(configuration))
        bus = await stack.enter_async_context(open_bus(configuration, tools))
        async with anyio.create_task_group() as tasks:
            daemon = Daemon(configuration, tools, log, bus, clock)
            await daemon.start(tasks)
            await daemon.serve(tasks, notifier)
            tasks.cancel_scope.cancel("the engine stops")


@asynccontextmanager
async def open_bus(configuration: Configuration, tools: Tools) -> AsyncIterator[Bus]:
    """The private bus, its server watched over until the end of the block."""
    server = BusServer(tools.nats_server, configuration.instance.exec_root / "bus")
    await server.start()
    try:
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


def clear_scratch(directory: Path) -> None:
    """Uploads that a killed daemon was receiving go."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)


@contextmanager
def pidfile(path: Path) -> Iterator[None]:
    """Tells others our pid while we run. The log's lock is what keeps a second daemon away."""
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class Daemon:
    """One run of the engine."""

    def __init__(
        self, configuration: Configuration, tools: Tools, log: SqliteLog, bus: Bus, clock: SystemClock
    ) -> None:
        self._configuration = configuration
        self._tools = tools
        self._log, self._bus, self._clock = log, bus, clock
        self._state, self._watcher = State(), StreamWatcher()
        self._keyring = FileKeyring(configuration.instance.data_root / "keys")
        self._services = Services(
            log=log,
            state=self._state,
            clock=clock,
            ids=RandomIds(),
            keyring=self._keyring,
            sender=bus.send,
            reporter=bus.report,
            watcher=self._watcher,
        )
        self._cause = Cause(actor=ENGINE, command_id=f"engine-{RandomIds().new()[:32]}", correlation_id="engine")
        self._composition: Composition | None = None
        self._components: tuple[Component, ...] = ()
        self._server: Server | None = None

    async def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Fold the log, answer commands, settle what is open."""
        await self._fold()
        self._composition = await compose(self._configuration, self._tools, self._log.id, tasks)
        self._components = await components(self._tools)
        dispatcher = Dispatcher(table(self._composition.handlers), self._services)
        await self._bus.serve(dispatcher.handle)
        policies = PolicyRunner(self._log, self._state, self._bus.send)
        await tasks.start(policies.run, self._log.head)
        tasks.start_soon(self._composition.networks.keep)
        await recover(self._composition.handlers, self._services, tasks)
        await self._record(EngineStarted(version=version("shiplog"), boot_id=host.boot_id(), pid=os.getpid()))

    async def _fold(self) -> None:
        async for recorded in self._log.read(limit=0):
            self._state.apply((recorded,))
        self._log.listen(self._state.apply)
        self._log.listen(self._watcher.notify)

    async def serve(self, tasks: anyio.abc.TaskGroup, notifier: Notifier) -> None:
        """Serve the API until a signal or a broken log ends it."""
        listeners = await anyio.to_thread.run_sync(self._listeners)
        self._server = Server(routes(self._engine()), common_headers=common_headers())
        await tasks.start(self._server.serve, listeners)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            notifier.ready()
            LOGGER.info("the engine serves on %s", ", ".join(listener.address for listener in listeners))
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(self._stop_when_broken, waiting.cancel_scope)
                await self._heed(signals, notifier)
                waiting.cancel_scope.cancel("a signal came")
        notifier.stopping()
        await self._stop()

    async def _heed(self, signals: AsyncIterator[signal.Signals], notifier: Notifier) -> None:
        """Reload at SIGHUP; return at a signal that ends the engine."""
        async for received in signals:
            if received != signal.SIGHUP:
                LOGGER.info("%s: the engine stops, containers go on", received.name)
                return
            notifier.reloading()
            await self._reload()
            notifier.ready()

    async def _stop_when_broken(self, waiting: anyio.CancelScope) -> None:
        if (broken := await self._log.wait_broken()) is not None:
            LOGGER.critical("the engine stops: %s", broken)
            waiting.cancel("the log is broken")

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
        """Finish what is being answered; with --live-restore=false containers are stopped too, as dockerd does."""
        if self._server is not None:
            await self._server.close(REQUEST_GRACE_S)
        if not self._configuration.live_restore:
            await self._stop_containers()
        if not await self._bus.idle(COMMAND_GRACE_S):
            LOGGER.warning("some commands are still running: the next start settles what they leave open")
        with suppress(LogBroken):
            await self._record(EngineStopped(reason="signal"))

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
            await self._bus.send(StopContainer(container=container_id), command_id=command_id, cause=self._cause)
        except Exception:
            LOGGER.exception("container %s could not be stopped", container_id)

    async def _record(self, event: EngineStarted | EngineStopped | EngineReloaded) -> None:
        await self._log.append((Append(stream=STREAM, events=(event,)),), cause=self._cause)

    def _listeners(self) -> list[Listener]:
        tls = self._configuration.tls
        opening = Opening(
            group=self._configuration.group,
            tls=server_context(ca=tls.authority, certificate=tls.certificate, key=tls.key) if tls else None,
            allow_plain_tcp=self._configuration.allow_unauthenticated_tcp,
        )
        return open_listeners(self._configuration.hosts, opening, environment=os.environ)

    def _engine(self) -> Engine:
        composition = self._made()
        instance = self._configuration.instance
        layout = Layout(
            data_root=str(instance.data_root),
            exec_root=str(instance.exec_root),
            storage_driver=self._configuration.storage_driver,
        )
        return Engine(
            state=self._state,
            log=self._log,
            keyring=self._keyring,
            streams=composition.runtime,
            watcher=self._watcher,
            clock=self._clock,
            ids=self._services.ids,
            requester=self._bus,
            usage=DirectoryUsage(layout),
            information=self._information,
            layout=layout,
            processes=composition.runtime.processes,
            process_table=ProcessTable(),
            scratch=scratch(self._configuration),
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
            composition.graph.describe(),
            self._log.id,
            composition.warnings,
        )


def common_headers() -> dict[str, str]:
    """On every answer; clients tell a Docker Engine by them."""
    return {
        "Server": f"Docker/{version('shiplog')} (linux)",
        "Api-Version": "1.51",
        "Ostype": "linux",
        "Docker-Experimental": "false",
    }
