"""Gives back what looks at the past have left; without it an engine that was asked once would stay large for good."""

import gc
from typing import Final

import anyio

from daemon.past import Past
from events.sqlite_log import SqliteLog
from handlers.kernel.memory import give_back

UNREAD_S: Final = 60.0


async def forget_unread(past: Past, log: SqliteLog, every_s: float = UNREAD_S) -> None:
    """Forget states and close older files that nobody has read for so long, until cancelled."""
    while True:
        await anyio.sleep(every_s)
        were_forgotten, were_closed = past.forget_unread(), await log.close_unread()
        if were_forgotten:
            gc.collect()  # parts of a state refer to each other
        if were_forgotten or were_closed:
            give_back()
