"""As much of an engine as the network handler needs: a log, its state, and contexts for commands."""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio
import msgspec

from events.base import Command, Event
from events.envelope import ENGINE, Cause, Recorded
from events.memory_log import MemoryLog
from events.messages.network import (
    ConnectSandbox,
    DisconnectSandbox,
    Endpoint,
    OpenSandbox,
    PublishedPort,
    RemoveSandboxFiles,
    Sandbox,
)
from events.projections.state import State
from handlers.context import Context, RandomIds, Services
from handlers.instance import Instance
from handlers.networks.handler import NetworkHandler
from handlers.networks.parts import Parts
from handlers.networks.settings import NetworkSettings
from tests.fakes.clock import SetClock
from tests.fakes.keyring import MemoryKeyring
from tests.fakes.network import FakeNameFiles, FakeNamespaces, FakeNetworkDriver, FakePortPublisher

Answer = TypeVar("Answer")


class Made(NamedTuple):
    """A sandbox that is connected."""

    opened: Sandbox
    endpoints: tuple[Endpoint, ...]
    ports: tuple[PublishedPort, ...]

    @property
    def namespace_path(self) -> str:
        return self.opened.namespace_path

    @property
    def hosts_path(self) -> str:
        return self.opened.hosts_path


class NobodyElse:
    """The network handler asks no other, reports nothing and waits for no stream: using this fails."""

    async def __call__(self, *arguments: object, **named: object) -> None:
        raise AssertionError(f"not expected: {arguments} {named}")

    def watch(self, stream: str) -> AbstractContextManager[Callable[[], Awaitable[None]]]:
        return nullcontext(anyio.sleep_forever)


class Engine:
    """A log with its state, and one handler on it; `restart` makes the handler anew, as after a crash."""

    def __init__(self, parts: Parts) -> None:
        self.log = MemoryLog(SetClock())
        self.state = State()
        self.log.listen(self.state.apply)
        nobody = NobodyElse()
        self._services = Services(
            log=self.log,
            state=self.state,
            clock=SetClock(),
            ids=RandomIds(),
            keyring=MemoryKeyring(),
            sender=nobody,  # type: ignore[arg-type]  # it takes everything
            watcher=nobody,
        )
        self._commands = itertools.count(1)
        self.restart(parts)

    def restart(self, parts: Parts) -> None:
        self.parts = parts
        self.handler = NetworkHandler(parts)

    def context(self) -> Context:
        number = f"command-{next(self._commands)}"
        return Context(self._services, Cause(actor=ENGINE, command_id=number, correlation_id=number))

    async def boot(self) -> None:
        await self.handler.reconcile(self.context())

    async def send(self, command: Command[Answer]) -> Answer:
        handle = self.handler.commands()[type(command)]
        answer: Answer = await handle(self.context(), command)
        return answer

    async def connect(self, container_id: str, **wishes: object) -> Made:
        command = OpenSandbox(container_id=container_id, container_name=container_id, hostname=container_id[:12])
        command = msgspec.structs.replace(command, **wishes)
        opened = await self.send(command)
        if not opened.connected:
            connect = ConnectSandbox(container_id=container_id, container_name=container_id, ports=command.ports)
            await self.send(connect)
        sandbox = self.state.sandboxes.get(container_id)
        assert sandbox is not None
        assert sandbox.status == "connected"
        return Made(opened, sandbox.endpoints, sandbox.ports)

    async def disconnect(self, container_id: str) -> None:
        await self.send(DisconnectSandbox(container_id=container_id))

    async def remove_files(self, container_id: str) -> None:
        await self.send(RemoveSandboxFiles(container_id=container_id))

    async def append(self, stream: str, *events: Event, take: Sequence[str] = ()) -> None:
        await self.context().append(stream, *events, take=take)

    async def events(self) -> list[Recorded]:
        return [recorded async for recorded in self.log.read(0, limit=0)]

    async def types(self, after: int = 0) -> list[str]:
        return [recorded.event.TYPE for recorded in await self.events() if recorded.sequence > after]


class FakeParts:
    """A handler's drivers, all fakes, at hand."""

    def __init__(self, **settings: object) -> None:
        self.driver = FakeNetworkDriver()
        self.publisher = FakePortPublisher()
        self.namespaces = FakeNamespaces()
        self.name_files = FakeNameFiles()
        self.settings = msgspec.structs.replace(NetworkSettings(), **settings)

    def parts(self, **settings: object) -> Parts:
        return Parts(
            settings=msgspec.structs.replace(self.settings, **settings),
            instance=Instance(name="default", data_root=Path("/fake/data"), exec_root=Path("/fake/run")),
            driver=self.driver,
            publisher=self.publisher,
            namespaces=self.namespaces,
            name_files=self.name_files,
        )
