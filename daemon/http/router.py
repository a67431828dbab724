"""Finds the endpoint for a path and checks the API version; without it there would be one endpoint."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from daemon.http.errors import ClientTooNew, ClientTooOld, PageNotFound, RouteTooNew
from daemon.http.messages import Endpoint, Route, Version

_VERSIONED = re.compile(r"/v([0-9.]{1,32})(/.*)", re.DOTALL)
_PARAMETER = re.compile(r"\{([a-z_]+)(:path)?\}")


class Found(msgspec.Struct, frozen=True):
    """What a request's path led to."""

    endpoint: Endpoint
    path: str  # percent-decoded, without the version prefix
    parameters: dict[str, str]
    version: Version


class Router:
    """The route table, made for looking up: patterns without parameters first, the others in the table's order."""

    def __init__(self, routes: Sequence[Route], *, minimum: Version, maximum: Version) -> None:
        """Raises ValueError when two routes are one, or a pattern makes no sense."""
        self._minimum = minimum
        self._maximum = maximum
        self._literal: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        seen: set[tuple[str, str]] = set()
        for route in routes:
            if (route.method, route.pattern) in seen:
                raise ValueError(f"two routes for {route.method} {route.pattern}")
            seen.add((route.method, route.pattern))
            self._add(route)

    def find(self, method: str, target_path: str) -> Found:
        """Look up a path as it stands in the request. Raises PageNotFound, ClientTooOld, ClientTooNew, RouteTooNew."""
        path = unquote(target_path, errors="replace") if "%" in target_path else target_path
        version_text = ""
        if versioned := _VERSIONED.fullmatch(path):
            version_text, path = versioned.groups()
        route, parameters = self._look_up(method, path)
        version = self._check(version_text, route) if version_text else self._maximum
        return Found(route.endpoint, path, parameters, version)

    def _add(self, route: Route) -> None:
        expression = _compile(route.pattern)
        if expression is None:
            self._literal[route.method, route.pattern] = route
        else:
            self._patterns.setdefault((route.method, _first_segment(route.pattern)), []).append((expression, route))

    def _look_up(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        found = self._match(method, path)
        if found is None and method == "HEAD":
            found = self._match("GET", path)
        if found is None:
            raise PageNotFound
        return found

    def _match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        if literal := self._literal.get((method, path)):
            return literal, {}
        for expression, route in self._patterns.get((method, _first_segment(path)), ()):
            if match := expression.fullmatch(path):
                return route, match.groupdict()
        return None

    def _check(self, text: str, route: Route) -> Version:
        version = _parse_version(text)
        if version < self._minimum:
            raise ClientTooOld(text, _spelled(self._minimum))
        if version > self._maximum:
            raise ClientTooNew(text, _spelled(self._maximum))
        if version < route.minimum_version:
            pattern = route.pattern.replace(":path}", ":.*}")
            raise RouteTooNew(f"{route.method} {pattern}", _spelled(route.minimum_version))
        return version


def _compile(pattern: str) -> re.Pattern[str] | None:
    """The pattern as an expression; None when it is a literal."""
    if not pattern.startswith("/") or _first_segment(pattern).startswith("{"):
        raise ValueError(f"a pattern starts with a literal segment: {pattern}")
    pieces: list[str] = []
    end = 0
    for parameter in _PARAMETER.finditer(pattern):
        name, long = parameter.groups()
        pieces += [re.escape(pattern[end : parameter.start()]), f"(?P<{name}>{'.+' if long else '[^/]+'})"]
        end = parameter.end()
    rest = pattern[end:]
    if "{" in rest or any("{" in piece for piece in pieces[::2]):
        raise ValueError(f"malformed parameter in {pattern}")
    return re.compile("".join(pieces) + re.escape(rest), re.DOTALL) if pieces else None


def _first_segment(path: str) -> str:
    return path[1:].partition("/")[0]


def _parse_version(text: str) -> Version:
    """The first two numbers; a missing one is 0."""
    major, minor = ([*text.split("."), "0"])[:2]
    return int(major or "0"), int(minor or "0")


def _spelled(version: Version) -> str:
    return ".".join(map(str, version))
