"""The environment of a process, with the variables Docker adds. Pure."""

from collections.abc import Iterable

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build(*layers: Iterable[str], hostname: str, home: str, terminal: bool) -> tuple[str, ...]:
    """PATH, HOSTNAME, TERM (with a terminal) and HOME unless a layer says otherwise; later layers win."""
    entries: tuple[str, ...] = (f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}", *(["TERM=xterm"] if terminal else []))
    for layer in layers:
        entries = _override(entries, layer)
    if any(entry.startswith("HOME=") for entry in entries):
        return entries
    return (*entries, f"HOME={home}")


def _override(base: Iterable[str], given: Iterable[str]) -> tuple[str, ...]:
    """Replace in place, or append; a name without `=` removes the variable, as Docker has it."""
    variables = {entry.partition("=")[0]: entry for entry in base}
    for entry in given:
        name, separator, _ = entry.partition("=")
        if separator:
            variables[name] = entry
        else:
            variables.pop(name, None)
    return tuple(variables.values())
