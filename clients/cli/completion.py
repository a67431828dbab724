"""Live names for the shell's completion: containers, images, networks and volumes of the engine that is meant."""

from collections.abc import Callable
from typing import Any, NamedTuple

import anyio
import click
from click.shell_completion import CompletionItem

from clients.api import ApiError, EngineUnreachable
from clients.cli.settings import DEFAULT_CONTEXT, Flags, SettingsError, contexts, resolve

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_PATIENCE_S = 2.0


class Source(NamedTuple):
    """Where the engine tells names, and how they are read from its answer."""

    path: str
    names: Callable[[Any], list[str]]


def _live(*sources: Source) -> Complete:
    def complete(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
        try:
            found = anyio.run(_ask, _flags(context), sources)
        except (ApiError, EngineUnreachable, SettingsError, TimeoutError):
            return []  # a shell has nowhere to show why
        return [CompletionItem(name) for name in sorted(set(found)) if name.startswith(typed)]

    return complete


async def _ask(flags: Flags, sources: tuple[Source, ...]) -> list[str]:
    client = resolve(flags).client()
    with anyio.fail_after(_PATIENCE_S):
        return [name for source in sources for name in source.names(await client.get(source.path, object))]


def _flags(context: click.Context) -> Flags:
    """A completion runs no command: the global flags are read from what was typed."""
    return Flags(**{flag: value for flag, value in context.find_root().params.items() if value})


def _container_names(found: Any) -> list[str]:
    return [name.removeprefix("/") for container in found for name in container["Names"]]


def _image_names(found: Any) -> list[str]:
    return [name for image in found for name in image.get("RepoTags") or () if name != "<none>:<none>"]


def _network_names(found: Any) -> list[str]:
    return [network["Name"] for network in found]


def _volume_names(found: Any) -> list[str]:
    return [volume["Name"] for volume in found["Volumes"] or ()]


_CONTAINERS = Source("/containers/json?all=1", _container_names)
_IMAGES = Source("/images/json", _image_names)
_NETWORKS = Source("/networks", _network_names)
_VOLUMES = Source("/volumes", _volume_names)
running = _live(Source("/containers/json", _container_names))
containers, images, networks, volumes = map(_live, (_CONTAINERS, _IMAGES, _NETWORKS, _VOLUMES))
objects = _live(_CONTAINERS, _IMAGES, _NETWORKS, _VOLUMES)


def context_names(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Contexts that the docker CLI made."""
    try:
        found = contexts(resolve(Flags(config=_flags(context).config)).config)
    except SettingsError:
        found = []
    names = [DEFAULT_CONTEXT, *(each.name for each in found)]
    return [CompletionItem(name) for name in names if name.startswith(typed)]
