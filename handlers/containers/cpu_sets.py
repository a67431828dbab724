"""Sets of CPUs and memory nodes as the kernel writes them (cpuset(7), list format)."""


def parse_set(text: str) -> frozenset[int]:
    """`0-2,4` -> {0, 1, 2, 4}. Raises ValueError."""
    members: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        bounds = range(int(first), int(last or first) + 1)
        if len(bounds) > 8192:
            raise ValueError(text)
        members.update(bounds)
    return frozenset(members)


def format_set(members: frozenset[int]) -> str:
    """{0, 1, 2, 4} -> `0-2,4`."""
    runs: list[list[int]] = []
    for member in sorted(members):
        if runs and runs[-1][-1] + 1 == member:
            runs[-1].append(member)
        else:
            runs.append([member])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
