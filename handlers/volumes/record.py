"""Writing down what a decision chose; without it every verb would repeat how to record nothing and how to finish."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import msgspec

from events.errors import DeadlineExceeded
from events.log import Append
from events.sealed import Sealed
from handlers.context import Context


class _NothingToRecord(Exception):
    """The state is already what was asked for."""


async def record(context: Context, decision: Callable[[], Append | None], *, answer: object = msgspec.UNSET) -> bool:
    """Append what `decision` chooses (see `Context.decide`); False when it chose nothing."""

    def needed() -> Append:
        append = decision()
        if append is None:
            raise _NothingToRecord
        return append

    try:
        await context.decide(needed, answer=answer)
    except _NothingToRecord:
        return False
    return True


@contextmanager
def finishing(timeout_s: float, failure: str) -> Iterator[None]:
    """Go on although the command is cancelled, for so long. Raises DeadlineExceeded with `failure` afterwards."""
    with anyio.move_on_after(timeout_s, shield=True) as scope:
        yield
    if scope.cancelled_caught:
        raise DeadlineExceeded(failure)


async def seal_options(context: Context, owner: str, options: dict[str, str]) -> Sealed | None:
    """Driver options as the log may hold them; None when there are none, so that no key is made."""
    if not options:
        return None
    return await context.keyring.seal(owner, msgspec.json.encode(options, order="deterministic"))


def open_options(context: Context, sealed: Sealed | None) -> dict[str, str]:
    """Driver options as the driver needs them. Raises KeyDestroyed."""
    if sealed is None:
        return {}
    return msgspec.json.decode(context.keyring.open(sealed), type=dict[str, str])
