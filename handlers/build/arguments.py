"""Build arguments: what a client gives, what a Dockerfile declares, and where either may be seen. Pure.

The rules: moby 20.10, builder/dockerfile/buildargs.go.
"""

from collections.abc import Mapping

PREDEFINED = frozenset(
    f(name) for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy") for f in (str.lower, str.upper)
)


class Arguments:
    """Of one build. What is declared is forgotten with each stage, what was given is not."""

    def __init__(self, given: Mapping[str, str | None]) -> None:
        self._given = given
        self._global: dict[str, str | None] = {}
        self._declared: dict[str, str | None] = {}
        self._used: set[str] = set()

    def declare_global(self, name: str, default: str | None) -> None:
        """Before the first stage."""
        self._global[name] = default
        self._used.add(name)

    def declare(self, name: str, default: str | None) -> None:
        """In a stage."""
        self._declared[name] = default
        self._used.add(name)

    def begin_stage(self) -> None:
        """Nothing is declared there yet."""
        self._declared = {}

    def for_bases(self) -> dict[str, str]:
        """What FROM may speak of."""
        return self._values(self._global)

    def in_stage(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What instructions of the stage may speak of, and the environment doesn't have."""
        return {name: value for name, value in self._values(self._declared).items() if name not in environment}

    def for_history(self, seen: Mapping[str, str]) -> tuple[str, ...]:
        """Those that make a RUN another one, `name=value`; a proxy isn't among them unless it was declared."""
        counted = (name for name in seen if name in self._used or name not in PREDEFINED)
        return tuple(sorted(f"{name}={seen[name]}" for name in counted))

    def unused(self) -> tuple[str, ...]:
        """What was given and never declared."""
        return tuple(sorted(name for name in self._given if name not in self._used | PREDEFINED))

    def _values(self, declared: Mapping[str, str | None]) -> dict[str, str]:
        values = {}
        for name in {**declared, **dict.fromkeys(sorted(PREDEFINED))}:
            value = self._value(name, declared.get(name))
            if value is not None:
                values[name] = value
        return values

    def _value(self, name: str, default: str | None) -> str | None:
        given = self._given.get(name)
        if given is not None:
            return given
        return self._global.get(name) if default is None else default
