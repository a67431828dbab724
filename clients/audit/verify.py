"""Whether a log, a running engine's among them, is complete, unchanged and the one that was signed."""

from collections.abc import Sequence

from clients.audit.sources import Source
from clients.errors import LogChanged, Unusable
from clients.verifier.checkpoints import Checkpoint
from events import chain


async def verify(source: Source, signed: Sequence[Checkpoint] = ()) -> int:
    """Recompute the chain over all events and hold it against checkpoints; the number of events.

    Raises Unusable that names the first event which isn't what it was, and LogChanged for another log's checkpoints.
    """
    for each in signed:
        if each.log != source.log:
            raise LogChanged(f"a checkpoint is of the log {each.log}, this is {source.log}: take those of this log")
        if each.sequence > source.last:
            raise Unusable(
                f"event {each.sequence} was signed, but the log ends with event {source.last}: its tail was cut off"
            )
    wanted = {each.sequence: each.digest for each in signed}
    previous, after = chain.genesis(source.log), 0
    async for batch in source.batches():
        for line in batch:
            if line.sequence != after + 1:
                raise Unusable(f"event {after + 1} is missing from the log")
            digest = bytes.fromhex(line.hash)
            if chain.link(previous, bytes(line.record)) != digest:
                raise Unusable(chain.unfit(line.sequence))
            if wanted.get(line.sequence, digest) != digest:
                raise Unusable(f"event {line.sequence} isn't the one that was signed: the log was written anew")
            previous, after = digest, line.sequence
    return after
