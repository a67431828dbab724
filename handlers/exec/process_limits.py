"""Limits of a process (`--ulimit`, `--oom-score-adj`), cut down to what the engine itself may give. Pure."""

from events.errors import InvalidParameter
from events.messages.container import Ulimit
from handlers.exec.host_facts import HostFacts
from handlers.exec.oci import Rlimit

_INFINITY = 2**64 - 1  # RLIM_INFINITY of setrlimit(2)
NAMES = frozenset(
    {
        *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
        *("rtprio", "rttime", "sigpending", "stack"),
    }
)


def rlimits(ulimits: tuple[Ulimit, ...], facts: HostFacts) -> tuple[tuple[Rlimit, ...], tuple[str, ...]]:
    """Limits for the runtime and warnings for those that were cut. Raises InvalidParameter for unknown names."""
    limits, warnings = [], []
    for ulimit in ulimits:
        if ulimit.name not in NAMES:
            raise InvalidParameter(f"invalid ulimit type: {ulimit.name}")
        limit = _limit(ulimit)
        allowed = _allowed(limit.type, facts)
        if limit.hard > allowed:
            warnings.append(f"ulimit {ulimit.name}: the engine may give {allowed} at most, not {_word(limit.hard)}")
            limit = Rlimit(type=limit.type, hard=allowed, soft=min(limit.soft, allowed))
        limits.append(limit)
    return tuple(limits), tuple(warnings)


def is_sound(ulimit: Ulimit) -> bool:
    """Whether its soft limit is below its hard one."""
    return ulimit.hard < 0 or 0 <= ulimit.soft <= ulimit.hard


def _limit(ulimit: Ulimit) -> Rlimit:
    soft, hard = (_INFINITY if value < 0 else value for value in (ulimit.soft, ulimit.hard))
    if soft > hard:
        raise InvalidParameter(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Rlimit(type=f"RLIMIT_{ulimit.name.upper()}", hard=hard, soft=soft)


def _allowed(kind: str, facts: HostFacts) -> int:
    own = facts.hard_limits.get(kind, -1)
    return _INFINITY if own < 0 or facts.may_raise_limits else own


def _word(value: int) -> str:
    return "unlimited" if value == _INFINITY else str(value)


def oom_score(wanted: int, facts: HostFacts) -> tuple[int | None, tuple[str, ...]]:
    """The score to set (None leaves the engine's own) and a warning where lowering it isn't allowed."""
    if wanted >= facts.oom_score_adj or facts.may_raise_limits:
        return wanted, ()
    if wanted == 0:
        return None, ()  # nobody asked: the engine's own, which is higher, is inherited
    return facts.oom_score_adj, (f"oom-score-adj: the engine may give {facts.oom_score_adj} at least, not {wanted}",)
