"""The log on disk; without it a crash would forget what clients were told.

One task writes (`group_commit`); reads go through a connection of their own.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import anyio
from anyio.to_thread import run_sync

from events.checkpoints import Checkpoint
from events.codec import Record, decoded
from events.envelope import Cause, Recorded
from events.errors import Unavailable
from events.group_commit import GroupCommit, Pending
from events.ledger import ENGINE_STREAM, Clock, Draft, Entry, Ledger, Position, prepare
from events.log import Append, ClaimTaken, Listener, LogBroken, Stored, VersionConflict
from events.log_directory import DirectoryLock
from events.projections.state import State
from events.reserve import Reserve, may_use
from events.segment_reader import NoSpace, VersionTaken
from events.segments import Segments
from events.snapshot_directory import SnapshotDirectory
from events.snapshots import Snapshot
from events.tail import PAGE_EVENTS, Tail
from events.verification import check_borne_out

KNOWN_STREAMS = 10_000
CHECKED_EVENTS = 1000  # of the tail, at open
SEGMENT_EVENTS = 100_000  # in one file
CLOSE_TIMEOUT_S = 30

LOGGER = logging.getLogger("shiplog.log")
CheckApart = Callable[[Sequence[Path]], AbstractAsyncContextManager[AsyncIterator[Sequence[Record]]]]  # see `replay`


class SqliteLog:
    """An `EventLog` in a directory of its own. Make one with `SqliteLog.open`."""

    def __init__(
        self,
        files: Segments,
        ledger: Ledger,
        clock: Clock,
        base: Snapshot | None = None,
        *,
        segment_events: int = SEGMENT_EVENTS,
    ) -> None:
        self.base = base  # what it was opened with: `replay` begins after it
        self._files = files
        self._ledger = ledger
        self._clock = clock
        self._segment_events = segment_events
        self._reserve, self._is_full = Reserve(files.directory), False
        self._tail = Tail(ledger.position.sequence, self._page)
        self._writer = GroupCommit(self._commit, self._tail.close)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        clock: Clock,
        snapshots: SnapshotDirectory | None = None,
        *,
        segment_events: int = SEGMENT_EVENTS,
    ) -> AsyncIterator[Self]:
        """Open the log in `directory`, or start a new one there, and run its writer until the end of the block.

        With snapshots the time that it takes doesn't depend on the history.
        Raises LogInUse (names the process), LogBroken (the tail's chain doesn't hold, a file isn't ours).
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(await run_sync(DirectoryLock, directory))
            files = await Segments.open(directory, secrets.token_hex(16))
            stack.push_async_callback(_close_files, files)
            base = None if snapshots is None else await _base(files, snapshots)
            log = cls(files, await _opened_ledger(files, base), clock, base, segment_events=segment_events)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.push_async_callback(log.aclose)
            await run_sync(log._reserve.take)
            tasks.start_soon(log._writer.run)
            yield log

    @property
    def id(self) -> str:
        """Random id of this log."""
        return self._files.log_id

    @property
    def head(self) -> int:
        """Sequence of the newest durable event; 0 when empty."""
        return self._tail.head

    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        """Append atomically. `reply` goes on the last event: it is the answer that concludes the command.

        Raises VersionConflict, ClaimTaken, Unavailable (disk full, closed), LogBroken, InvalidParameter (too large).
        """
        return await self._writer.append(prepare(appends, cause, reply))

    async def _commit(self, group: Sequence[Pending]) -> None:
        if self._is_full and not (await run_sync(self._reserve.take)):
            await self._commit_conclusions(group)
            return
        self._is_full = False
        try:
            await self._commit_all(group)
        except NoSpace:
            LOGGER.error("the disk of the event log is full: commands are refused until there is room")  # noqa: TRY400
            self._is_full = True
            await run_sync(self._reserve.give_back)
            await self._commit_conclusions(group)

    async def _commit_conclusions(self, group: Sequence[Pending]) -> None:
        """Outcomes of what was begun go into the room that the reserve gave back; nothing new is begun."""
        concluding = [pending for pending in group if may_use(pending.batch)]
        if concluding:
            await self._commit_all(concluding)
        for pending in group:
            if pending not in concluding:
                pending.error = NoSpace()

    async def _commit_all(self, group: Sequence[Pending]) -> None:
        await self._roll_when_full()
        await self._learn(self._ledger.unknown(pending.batch for pending in group))
        try:
            await self._store(group)
        except VersionTaken:  # a stream that was taken for new isn't
            named = {append.stream for pending in group for append in pending.batch.appends}
            await self._learn(named | {ENGINE_STREAM})
            await self._store(group)

    async def _learn(self, streams: Collection[str]) -> None:
        if streams:
            self._ledger.learn(await self._files.versions(streams))

    async def _store(self, group: Iterable[Pending]) -> None:
        draft = Draft(self._ledger)
        batches = self._admit(draft, group)
        if batches:
            await self._insert(draft.entries)
            self._ledger.adopt(draft)
            self._ledger.forget(keep=KNOWN_STREAMS)
            self._publish(batches)

    async def _insert(self, entries: Sequence[Entry]) -> None:
        try:
            await self._files.insert(entries)
        except VersionTaken:
            raise
        except LogBroken as error:
            if error.is_write and await run_sync(self._reserve.is_disk_full):
                raise NoSpace from error
            raise

    def _admit(self, draft: Draft, group: Iterable[Pending]) -> list[Sequence[Recorded]]:
        """What goes to disk, batch by batch; who asked for something impossible gets the error."""
        batches: list[Sequence[Recorded]] = []
        for pending in group:
            clock_ns = self._clock.now_ns()
            if jump := draft.note_clock(clock_ns):
                batches.append(_as_read(jump))
            try:
                pending.recorded = _as_read(draft.admit(pending.batch, clock_ns))
            except (VersionConflict, ClaimTaken) as error:
                pending.error = error
            else:
                pending.error = None
                batches.append(pending.recorded)
        return batches

    async def _roll_when_full(self) -> None:
        """Go on in a new file; where that can't be made, in the old one."""
        position = self._ledger.position
        if position.sequence - self._files.active.base.sequence < self._segment_events:
            return
        try:
            await self._files.roll(position)
        except (OSError, Unavailable) as error:
            LOGGER.warning("the log goes on in %s: %s", self._files.active.path.name, error)

    async def archive(self, up_to: int) -> None:
        """Compress the files whose events are all up to a sequence, after verifying them. Raises LogBroken, OSError."""
        for segment in self._files.older:
            if segment.last.sequence <= up_to and not segment.is_archived:
                await self._files.archive(segment)

    async def close_unread(self) -> bool:
        """Give back what older files take that nobody has read since the last call; whether there were any."""
        return await self._files.close_unread()

    def _publish(self, batches: Sequence[Sequence[Recorded]]) -> None:
        try:
            self._tail.publish(batches)
        except Exception as error:
            LOGGER.exception("a listener of the event log failed")
            raise LogBroken(f"a listener failed on what is in the log: {error!r}") from error

    async def wait_broken(self) -> LogBroken | None:
        """Wait until the log breaks (the engine must stop then) or is closed (None)."""
        return await self._tail.ended()

    @property
    def position(self) -> Position:
        """Where the log stands."""
        return self._ledger.position

    def fail(self, error: LogBroken) -> None:
        """What was found elsewhere breaks the log: nothing is appended any more, and the engine stops."""
        self._writer.fail(error)

    async def check_reaches(self, checkpoint: Checkpoint) -> None:
        """The log has the event that was signed. Raises LogBroken when it was cut short or written anew."""
        if checkpoint.sequence > self.head:
            raise LogBroken(
                f"the log ends with event {self.head}, and event {checkpoint.sequence} was signed: its end was cut off"
            )
        if checkpoint.sequence:
            check_borne_out(checkpoint, await self._files.hash_of(checkpoint.sequence))

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every committed batch from now on, before append returns.

        A listener that raises breaks the log: what it keeps would no longer be what the log says.
        """
        self._tail.listen(listener)

    async def read(self, after: int = 0, *, limit: int = 1000) -> AsyncIterator[Recorded]:
        """Events with a sequence greater than `after`, at most `limit` of them (0: all up to the head)."""
        last = min(self.head, after + limit) if limit else self.head
        while page := await self._files.page(after, last, PAGE_EVENTS):
            for recorded in page:
                yield recorded
            after = page[-1].sequence

    async def stored(self, after: int, limit: int) -> Sequence[Stored]:
        """Events with a sequence greater than `after` as their bytes, at most `limit` of them, up to the head."""
        return await self._files.stored(after, self.head, limit)

    async def replay(self, state: State, check_apart: CheckApart | None = None) -> None:
        """Bring an empty state up to the head, from the snapshot that the log was opened with if there is one.

        The chain of all events on the way is checked, with `check_apart` that of whole files beside their fold: it
        gives their records, page by page, as they are checked.
        Raises LogBroken that names the first bad sequence.
        """
        if self.base is not None:
            state.restore(self.base.position.sequence, self.base.tables)
            self.base = None  # its tables are the state's now
        apart = [each for each in self._files.older if check_apart and each.base.sequence >= state.sequence]
        if check_apart and apart:
            await self._replay_checked(state, apart[0].base.sequence)
            async with check_apart([*(each.path for each in apart), self._files.active.path]) as pages:
                async for records in pages:
                    state.apply([_named(record) for record in records])
        await self._replay_checked(state, self.head)

    async def _replay_checked(self, state: State, last: int) -> None:
        async for records in self._files.checked(state.sequence, last):
            state.apply([_named(record) for record in records])

    def capture(self, state: State) -> Snapshot:
        """A snapshot of a state that listens to this log; call it on the event loop."""
        if state.sequence != self.head:
            raise LogBroken(f"the state is at event {state.sequence} and the log at {self.head}")
        return Snapshot(
            log_id=self.id,
            position=self._ledger.position,
            holders=dict(self._ledger.holders),
            tables=state.capture(),
        )

    async def read_stream(self, stream: str) -> AsyncIterator[Recorded]:
        """All events of one stream, up to the present head."""
        last, version = self.head, 0
        while page := await self._files.stream_page(stream, version, last, PAGE_EVENTS):
            for recorded in page:
                yield recorded
            version = page[-1].version

    def subscribe(self, after: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Recorded]]:
        """Catch up from `after`, then live, without gap or duplicate; holds no read transaction while it waits."""
        return self._tail.subscribe(after)

    async def _page(self, after: int, limit: int) -> Sequence[Recorded]:
        return await self._files.page(after, self.head, limit)

    async def reply_to(self, command_id: str) -> bytes | None:
        """The first recorded answer to a command, or None."""
        return await self._files.reply(command_id, self.head)

    async def claim_holder(self, key: str) -> str | None:
        """The stream that holds a claim."""
        return self._ledger.holders.get(key)

    async def verify(self, first: int = 1, last: int | None = None) -> None:
        """Recompute the chain over a range. Raises LogBroken that names the first bad sequence."""
        await self._files.check(first, self.head if last is None else last)

    async def aclose(self) -> None:
        """Write what was handed over, end all subscriptions; later appends are refused."""
        await self._writer.aclose(CLOSE_TIMEOUT_S)
        self._tail.close()


def _named(record: Record) -> Recorded:
    """For folds, which know no hashes. Raises LogBroken that names the event."""
    try:
        return decoded(record, b"")
    except LogBroken as error:
        raise type(error)(f"event {record.sequence}: {error}") from error


def _as_read(entries: Iterable[Entry]) -> Sequence[Recorded]:
    return tuple(entry.recorded for entry in entries)


async def _base(files: Segments, snapshots: SnapshotDirectory) -> Snapshot | None:
    """The newest snapshot, which the log must bear out."""
    await run_sync(snapshots.prepare)
    snapshot = await run_sync(snapshots.newest, files.log_id)
    if snapshot is None:
        return None
    sequence = snapshot.position.sequence
    if sequence > (await files.position()).sequence:
        raise LogBroken(f"the log ends before event {sequence}, of which there is a snapshot: its end was cut off")
    if await files.hash_of(sequence) != snapshot.position.hash:
        raise LogBroken(f"event {sequence} is not the one that a snapshot was made of: the log was changed")
    return snapshot


async def _opened_ledger(files: Segments, base: Snapshot | None) -> Ledger:
    position = await files.position()
    checked = max(1, position.sequence - CHECKED_EVENTS + 1)
    holders: dict[str, str] = {}
    if base is not None:
        checked = max(checked, base.position.sequence + 1)
        holders = dict(base.holders)
    await files.check(checked, position.sequence)
    await files.fold_claims(holders, base.position.sequence if base is not None else 0)
    return Ledger(position, holders)


async def _close_files(files: Segments) -> None:
    with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
        await files.close()
