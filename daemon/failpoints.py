"""Named instants at which a test can make the engine fail; without them no test could hit the moment that matters.

A point is named `<command>/<step>/<side>`: the command that is being carried out (`container.start`; `recovery` at
boot, `engine` for what nobody asked for), what it is about to do or has done, and `before` or `after`. A step is an
append, named by its events' types (`container.start_requested`: every intent and outcome), a command to another
handler, by its type (`network.connect`), a driver's method (`graph.mount`: every effect), or a request to a registry
(`registry.manifest`) and each piece of a blob that comes of it (`registry.piece`, after it was taken in).

`SHIPLOG_FAILPOINTS` names a directory. Its file `plan` is read at every point, a rule on each line:

    PATTERN=ACTION[:SECONDS][@FIRST][*TIMES]

PATTERN is a shell pattern for names; ACTION is `error` (what a host that refuses gives), `panic` (an exception that no
code expects), `kill` (SIGKILL to the daemon), `delay` (SECONDS) or `note`; it is taken from the FIRST matching pass on
(1), TIMES times (always). Before it is, `<operation> <name>` goes into the file `passed`, the operation being the
command that a client or a policy sent in the first place. Without the variable nothing is surrounded: there is no cost.
"""

import functools
import inspect
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Self

import anyio
import msgspec

from daemon.bus.dispatcher import Table
from events.errors import SystemFailure
from events.log import Append
from events.messages.image import Credentials
from handlers.context import Context, Handle, Handler
from handlers.images.ports import Registries, Repository, Stream

VARIABLE: Final = "SHIPLOG_FAILPOINTS"
PLAN, PASSED = "plan", "passed"
BEFORE, AFTER = "before", "after"


_RULE = re.compile(
    r"(?P<pattern>[^\s=]+)=(?P<action>error|panic|kill|delay|note)"
    r"(?::(?P<seconds>\d+(?:\.\d+)?))?(?:@(?P<first>\d+))?(?:\*(?P<times>\d+))?"
)


class Panic(Exception):
    """What no code expects."""


class Where(msgspec.Struct, frozen=True):
    """What the engine is doing."""

    operation: str
    command: str


_where: ContextVar[Where] = ContextVar("where")
_ENGINE = Where("engine", "engine")
_RECOVERY = Where("recovery", "recovery")


class Rule(msgspec.Struct, kw_only=True):
    """One line of a plan, and how often it was met."""

    pattern: str
    action: str
    seconds: float = 0.0
    first: int = 1
    times: int = 0  # 0: always
    met: int = 0

    def meets(self, name: str) -> bool:
        """Whether the point is this rule's, and it is its turn."""
        if not fnmatchcase(name, self.pattern):
            return False
        self.met += 1
        return self.met >= self.first and (not self.times or self.met < self.first + self.times)


def rules(plan: str) -> tuple[Rule, ...]:
    """Raises ValueError for a line that is none."""
    found = []
    for line in plan.split():
        match = _RULE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a rule for failpoints: {line}")
        given = {name: value for name, value in match.groupdict().items() if value is not None}
        found.append(msgspec.convert(given, Rule, strict=False))
    return tuple(found)


def point_name(step: str, side: str) -> str:
    """Of a point of the command that is being carried out."""
    return f"{_where.get(_ENGINE).command}/{step}/{side}"


def _always(step: str) -> Callable[..., str]:
    return lambda *_, **__: step


def _in_recovery(reconcile: Callable[[Context], Awaitable[None]]) -> Callable[[Context], Awaitable[None]]:
    async def surrounded(context: Context) -> None:
        _where.set(_RECOVERY)
        await reconcile(context)

    return surrounded


class Failpoints:
    """Surrounds the parts of one daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._plan = ""
        self._rules: tuple[Rule, ...] = ()
        self._operations: dict[str, str] = {}  # correlation id -> type of the command that is at its root

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """None in production."""
        directory = environment.get(VARIABLE)
        return cls(Path(directory)) if directory else None

    # ---- what is surrounded

    def surround_log(self, log: object) -> None:
        """Every append."""

        def step(appends: Sequence[Append], **_: object) -> str:
            return "+".join(dict.fromkeys(event.TYPE for append in appends for event in append.events))

        self._surround(log, "append", step)

    def surround_bus(self, bus: object) -> None:
        """Commands of handlers to one another, and those of policies."""
        self._surround(bus, "send", lambda command, **_: command.TYPE)

    def surround_drivers(self, drivers: Mapping[str, object]) -> None:
        """Every coroutine method of drivers, by the names that the points are to have."""
        for name, driver in drivers.items():
            for method, function in inspect.getmembers(type(driver), inspect.iscoroutinefunction):
                if function is not None and not method.startswith("_"):
                    self._surround(driver, method, _always(f"{name}.{method}"))

    def surround_registries(self, registries: Registries) -> None:
        """Every request to a repository, and every piece of a blob."""
        open_repository = registries.repository

        @asynccontextmanager
        async def surrounded(name: str, credentials: Credentials) -> AsyncIterator[Repository]:
            async with open_repository(name, credentials) as repository:
                self.surround_drivers({"registry": repository})
                setattr(repository, "blob", self._in_pieces(repository.blob))  # noqa: B010  # for this object alone
                yield repository

        setattr(registries, "repository", surrounded)  # noqa: B010

    def _in_pieces(self, open_blob: Callable[[str, int], AbstractAsyncContextManager[Stream]]) -> object:
        @asynccontextmanager
        async def surrounded(digest: str, offset: int) -> AsyncIterator[Stream]:
            await self.passes("registry.blob", BEFORE)
            async with open_blob(digest, offset) as stream:
                await self.passes("registry.blob", AFTER)
                yield msgspec.structs.replace(stream, chunks=self._pieces(stream.chunks))

        return surrounded

    async def _pieces(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await self.passes("registry.piece", BEFORE)
            yield chunk
            await self.passes("registry.piece", AFTER)

    def surround_recovery(self, handlers: Iterable[Handler]) -> None:
        """Tell what is done at boot from the rest."""
        for handler in handlers:
            setattr(handler, "reconcile", _in_recovery(handler.reconcile))  # noqa: B010  # for this object alone

    def table(self, table: Table) -> Table:
        """Handlers that know which command they carry out."""
        return {name: (command, self._telling(name, handle)) for name, (command, handle) in table.items()}

    def _telling(self, command_type: str, handle: Handle) -> Handle:
        async def telling(context: Context, command: Any) -> Any:  # noqa: ANN401  # as in `Handle`
            cause = context.cause
            is_root = "." not in cause.command_id
            if is_root:
                self._operations[cause.correlation_id] = command_type
            operation = self._operations.get(cause.correlation_id, command_type)
            _where.set(Where("recovery" if cause.actor.kind == "recovery" else operation, command_type))
            try:
                return await handle(context, command)
            finally:
                if is_root:
                    self._operations.pop(cause.correlation_id, None)

        return telling

    def _surround(self, part: object, method: str, step: Callable[..., str]) -> None:
        function: Callable[..., Awaitable[Any]] = getattr(part, method)

        @functools.wraps(function)
        async def surrounded(*arguments: object, **keywords: object) -> object:
            name = step(*arguments, **keywords)
            await self.passes(name, BEFORE)
            result = await function(*arguments, **keywords)
            await self.passes(name, AFTER)
            return result

        setattr(part, method, surrounded)

    # ---- what happens there

    async def passes(self, step: str, side: str) -> None:
        """The engine is at a point. Raises SystemFailure or Panic where the plan says so."""
        name = point_name(step, side)
        for rule in [rule for rule in self._read() if rule.meets(name)]:
            self._note(name)
            if rule.action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif rule.action == "delay":
                await anyio.sleep(rule.seconds)
            elif rule.action == "error":
                raise SystemFailure(f"failpoint {name}")
            elif rule.action == "panic":
                raise Panic(f"failpoint {name}")

    def _read(self) -> tuple[Rule, ...]:
        """The rules now; those of a new plan begin to count anew."""
        try:
            plan = (self._directory / PLAN).read_text()
        except FileNotFoundError:
            plan = ""
        if plan != self._plan:
            self._plan, self._rules = plan, rules(plan)
        return self._rules

    def _note(self, name: str) -> None:
        with (self._directory / PASSED).open("ab", buffering=0) as file:
            file.write(f"{_where.get(_ENGINE).operation} {name}\n".encode())
