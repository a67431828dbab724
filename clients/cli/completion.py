"""Live names for the shell's completion: containers, images, networks and volumes of the engine that is meant."""

from collections.abc import Callable
from typing import Any

import anyio
import click
from click.shell_completion import CompletionItem

from clients.api import ApiError, EngineUnreachable
from clients.cli.settings import DEFAULT_CONTEXT, Flags, SettingsError, contexts, resolve

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_PATIENCE_S = 2.0


def _live(path: str, names: Callable[[Any], list[str]]) -> Complete:
    def complete(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
        try:
            found = names(anyio.run(_ask, _flags(context), path))
        except (ApiError, EngineUnreachable, SettingsError, TimeoutError):
            return []  # a shell has nowhere to show why
        return [CompletionItem(name) for name in sorted(set(found)) if name.startswith(typed)]

    return complete


async def _ask(flags: Flags, path: str) -> Any:
    with anyio.fail_after(_PATIENCE_S):
        return await resolve(flags).client().get(path, object)


def _flags(context: click.Context) -> Flags:
    """A completion runs no command: the global flags are read from what was typed."""
    typed = context.find_root().params
    return Flags(host=typed.get("host") or "", context=typed.get("context") or "", config=typed.get("config") or "")


def _container_names(found: Any) -> list[str]:
    return [name.removeprefix("/") for container in found for name in container["Names"]]


def _image_names(found: Any) -> list[str]:
    return [name for image in found for name in image.get("RepoTags") or () if name != "<none>:<none>"]


running = _live("/containers/json", _container_names)
containers = _live("/containers/json?all=1", _container_names)
images = _live("/images/json", _image_names)
networks = _live("/networks", lambda found: [network["Name"] for network in found])
volumes = _live("/volumes", lambda found: [volume["Name"] for volume in found["Volumes"] or ()])


def context_names(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Contexts that the docker CLI made."""
    try:
        found = contexts(resolve(Flags(config=_flags(context).config)).config)
    except SettingsError:
        found = []
    names = [DEFAULT_CONTEXT, *(each.name for each in found)]
    return [CompletionItem(name) for name in names if name.startswith(typed)]
