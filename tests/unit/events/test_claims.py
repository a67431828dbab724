"""Claims are never held twice, whatever is appended in whatever order and whatever is refused."""

from hypothesis import given, settings
from hypothesis import strategies as st

from events import chain, claims
from events.envelope import ENGINE, Cause
from events.ledger import Draft, Ledger, Position, prepare
from events.log import Append, ClaimTaken, VersionConflict
from events.messages.container import ContainerCreated

CAUSE = Cause(actor=ENGINE, command_id="c", correlation_id="r")
STREAMS = st.sampled_from(["a/1", "a/2", "a/3"])
KEYS = st.lists(st.sampled_from(["k1", "k2", "k3"]), max_size=3).map(tuple)
APPENDS = st.builds(
    Append,
    stream=STREAMS,
    events=st.integers(1, 2).map(lambda count: (ContainerCreated(container_id="x"),) * count),
    expected=st.none() | st.integers(0, 4),
    take=KEYS,
    release=KEYS,
)
GROUPS = st.lists(st.lists(st.lists(APPENDS, min_size=1, max_size=3), min_size=1, max_size=4), max_size=6)


class Model:
    """The rules again, as plainly as they can be said."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.versions: dict[str, int] = {}

    def apply(self, batch: list[Append]) -> bool:
        holders, versions = dict(self.holders), dict(self.versions)
        for append in batch:
            if append.expected not in (None, versions.get(append.stream, 0)):
                return False
            versions[append.stream] = versions.get(append.stream, 0) + len(append.events)
        for append in batch:
            for key in append.release:
                if holders.get(key) == append.stream:
                    del holders[key]
        for append in batch:
            for key in append.take:
                if holders.setdefault(key, append.stream) != append.stream:
                    return False
        self.holders, self.versions = holders, versions
        return True


def admitted(draft: Draft, batch: list[Append]) -> bool:
    try:
        draft.admit(prepare(batch, CAUSE, None), 1)
    except (ClaimTaken, VersionConflict):
        return False
    return True


@settings(deadline=None, max_examples=60)
@given(groups=GROUPS, lost=st.sets(st.integers(0, 5)))
def test_the_ledger_follows_the_rules(groups: list[list[list[Append]]], lost: set[int]) -> None:
    ledger, model = Ledger(Position(hash=chain.genesis("x")), {}), Model()
    rebuilt: dict[str, str] = {}
    for number, group in enumerate(groups):
        draft = Draft(ledger)
        if number in lost:  # a group that never reached the disk
            for batch in group:
                admitted(draft, batch)
            continue
        for batch in group:
            assert admitted(draft, batch) == model.apply(batch)
        ledger.adopt(draft)
        for entry in draft.entries:
            claims.fold(rebuilt, claims.told_by(entry.stored))
            assert entry.changes_claims == (b'"take"' in entry.stored or b'"release"' in entry.stored)
        assert ledger.holders == model.holders == rebuilt
        assert {stream: ledger.version(stream) for stream in model.versions} == model.versions


@settings(deadline=None, max_examples=60)
@given(group=st.lists(st.lists(APPENDS, min_size=1, max_size=3), max_size=5))
def test_what_is_admitted_is_a_dense_chain(group: list[list[Append]]) -> None:
    start = Position(hash=chain.genesis("x"))
    draft = Draft(Ledger(start, {}))
    for batch in group:
        admitted(draft, batch)
    links = [(entry.recorded.sequence, entry.stored, entry.recorded.hash) for entry in draft.entries]
    assert chain.check(start.hash, 0, links) == draft.position.hash
    assert draft.position.sequence == len(draft.entries)
