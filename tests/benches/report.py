"""How a benchmark tells what it found: beside each figure stands the one that is wanted."""


def say(what: str, found: str, target: str) -> None:
    """One line of the report."""
    print(f"  {what:62} {found:52} (target: {target})", flush=True)  # noqa: T201
