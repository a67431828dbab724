"""What the API layer stands on; `daemon/bootstrap.py` makes one and hands it to `routes`."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol, TypeVar

import anyio
import msgspec

from daemon.api.kept_answers import KeptAnswers
from daemon.bus.relay import Relay
from daemon.feed import Feed
from daemon.http import messages
from daemon.past import Past
from daemon.shapes.containers import View
from daemon.shapes.go_values import Version
from daemon.shapes.information import Information
from daemon.shapes.layout import Layout
from events.base import Command
from events.checkpoints import Checkpoint
from events.envelope import Actor, Cause
from events.errors import Unavailable
from events.log import EventLog
from events.projections.state import State
from events.sealed import Keyring
from handlers.context import Clock, Ids, Watcher
from handlers.exec.ports import Streams
from handlers.exec.usage import Usage
from handlers.images.ports import Registries
from handlers.layers.ports import ContainerFiles, LayerTars
from handlers.policies.health import Health
from handlers.progress import Progress

Answer = TypeVar("Answer")
Told = TypeVar("Told", covariant=True)

DEADLINE_S: Final = 600.0  # of a command whose own parameters don't bound it
_CATCH_UP_S: Final = 10.0
_CATCH_UP_STEP_S: Final = 0.001


class Requester(Protocol):
    """Sends commands over the bus (`daemon.bus.client.Bus`)."""

    async def request(
        self, command: Command[Answer], *, command_id: str, cause: Cause, deadline_ns: int = 0
    ) -> tuple[Answer, int]:
        """The answer and the log position at which it holds. Raises the handler's error."""

    async def begin(
        self,
        command: Command[Answer],
        *,
        command_id: str,
        cause: Cause,
        deadline_ns: int = 0,
        on_reply: Callable[[], None] | None = None,
    ) -> "Asked[Answer]":
        """The same in two steps; `on_reply` is called when the answer is there."""


class Asked(Protocol[Told]):
    """A command that is under way."""

    def close(self) -> None:
        """Its answer is of no interest any more."""

    async def answer(self) -> tuple[Told, int]:
        """The answer and the log position at which it holds. Raises the handler's error."""


class Signing(Protocol):
    """States where the log stands (`daemon.log_care.Checkpoints`)."""

    @property
    def public_key(self) -> str:
        """What checkpoints are checked with, PEM."""

    async def sign(self) -> Checkpoint:
        """A checkpoint of the newest event, kept. Raises OSError."""


class DiskUsage(Protocol):
    """Measures directories: live data, read outside the event loop."""

    async def container_bytes(self, container_id: str) -> int:
        """What a container has written into its own layer; -1 when it can't be told."""

    async def directory_bytes(self, path: str) -> int:
        """What a directory takes; -1 when it can't be told."""


class ImageContent(Protocol):
    """Configurations of images (`handlers.images.content.ContentStore`)."""

    async def read(self, digest: str) -> bytes:
        """The exact bytes. Raises SystemFailure."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """State to query, a bus to command, and the live data of processes."""

    state: State
    log: EventLog
    feed: Feed
    checkpoints: Signing
    past: Past
    relay: Relay | None = None
    keyring: Keyring
    streams: Streams
    watcher: Watcher
    clock: Clock
    ids: Ids
    requester: Requester
    progress: Progress
    registries: Registries
    usage: DiskUsage
    information: Callable[[], Information]  # asked at every use: a reload changes it
    layout: Layout
    processes: Callable[[str], tuple[int, ...]]  # host pids of a container
    measure: Callable[[str], Usage | None]  # what a container uses; blocking
    process_table: Callable[[Sequence[str]], Awaitable[str]]  # arguments of `ps` -> what it prints
    files: ContainerFiles
    layer_tars: LayerTars
    image_content: ImageContent
    scratch: Path  # directory for uploads, on the file system of the data-root
    health: Callable[[str], Health | None] = lambda _: None  # container id -> its last probes
    answers: KeptAnswers = msgspec.field(default_factory=KeptAnswers)  # hears of the log what is removed
    listeners: set[str] = set()  # ids of clients that follow events

    async def dispatch(
        self, actor: Actor, command: Command[Answer], *, command_id: str, deadline_s: float | None = DEADLINE_S
    ) -> Answer:
        """Have a command carried out for a client; the state shows its effect when this returns.

        `deadline_s` None leaves the bound to the command's own parameters. Raises EngineError.
        """
        cause = Cause(actor=actor, command_id=command_id, correlation_id=command_id)
        deadline_ns = 0 if deadline_s is None else self.clock.now_ns() + int(deadline_s * 1e9)
        answer, sequence = await self.requester.request(
            command, command_id=command_id, cause=cause, deadline_ns=deadline_ns
        )
        await self._reach(sequence)
        return answer

    async def begin(
        self, actor: Actor, command: Command[Answer], *, command_id: str, on_reply: Callable[[], None]
    ) -> Asked[Answer]:
        """Have a command without a deadline carried out for a client, and hear of it later."""
        cause = Cause(actor=actor, command_id=command_id, correlation_id=command_id)
        return await self.requester.begin(command, command_id=command_id, cause=cause, on_reply=on_reply)

    async def conclude(self, asked: Asked[Answer]) -> Answer:
        """The answer of what was begun; the state shows its effect when this returns. Raises EngineError."""
        answer, sequence = await asked.answer()
        await self._reach(sequence)
        return answer

    def watch(self, stream: str) -> AbstractContextManager[Callable[[], Awaitable[None]]]:
        """While entered, the yielded function waits for the next event on the stream."""
        return self.watcher.watch(stream)

    def view(self, version: Version) -> View:
        """What shapes of containers are made from, now."""
        return View(
            state=self.state,
            keyring=self.keyring,
            layout=self.layout,
            version=version,
            now_ns=self.clock.now_ns(),
            health=self.health,
        )

    async def _reach(self, sequence: int) -> None:
        """The state is fed before an append returns; only a reply that overtook its events has to wait."""
        with anyio.move_on_after(_CATCH_UP_S):
            while self.state.sequence < sequence:  # noqa: ASYNC110 - nobody announces a position of the whole log
                await anyio.sleep(_CATCH_UP_STEP_S)
            return
        raise Unavailable(f"the engine's state has not reached event {sequence} of its log")


EngineEndpoint = Callable[[Engine, messages.Request], Awaitable[messages.Answer]]
