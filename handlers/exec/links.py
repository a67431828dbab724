"""Variables that tell of a linked container (`docker run --link`); without it old images find no database. Pure.

Source: https://docs.docker.com/engine/network/links/#environment-variables.
"""

from collections.abc import Iterable, Iterator

_KEPT_BACK = frozenset({"HOME", "PATH"})
Port = tuple[int, str]  # number, protocol


def variables(full_alias: str, address: str, ports: Iterable[Port], env: Iterable[str]) -> tuple[str, ...]:
    """`full_alias` is `/container/alias`; `ports` are those that the other exposes; `env` its own variables."""
    alias = full_alias.rpartition("/")[2].replace("-", "_").upper()
    known = sorted(set(ports), key=lambda port: (port[1] != "tcp", port[1], port[0]))
    return (
        f"{alias}_NAME={full_alias}",
        *_of_ports(alias, address, known),
        *_of_ranges(alias, address, known),
        *_of_environment(alias, env),
    )


def _of_ports(alias: str, address: str, ports: list[Port]) -> Iterator[str]:
    for number, protocol in ports[:1]:
        yield f"{alias}_PORT={protocol}://{address}:{number}"
    for number, protocol in ports:
        prefix = f"{alias}_PORT_{number}_{protocol.upper()}"
        yield f"{prefix}={protocol}://{address}:{number}"
        yield f"{prefix}_ADDR={address}"
        yield f"{prefix}_PORT={number}"
        yield f"{prefix}_PROTO={protocol}"


def _of_ranges(alias: str, address: str, ports: list[Port]) -> Iterator[str]:
    """Ports that follow one another are told together too."""
    for first, last, protocol in _ranges(ports):
        prefix = f"{alias}_PORT_{first}_{protocol.upper()}"
        yield f"{prefix}_START={protocol}://{address}:{first}"
        yield f"{prefix}_PORT_START={first}"
        yield f"{prefix}_END={protocol}://{address}:{last}"
        yield f"{prefix}_PORT_END={last}"


def _ranges(ports: list[Port]) -> Iterator[tuple[int, int, str]]:
    begun = 0
    for index, (number, protocol) in enumerate(ports):
        following = ports[index + 1] if index + 1 < len(ports) else None
        if following != (number + 1, protocol):
            if index > begun:
                yield ports[begun][0], number, protocol
            begun = index + 1


def _of_environment(alias: str, env: Iterable[str]) -> Iterator[str]:
    for entry in env:
        name, separator, value = entry.partition("=")
        if separator and name not in _KEPT_BACK:
            yield f"{alias}_ENV_{name}={value}"
