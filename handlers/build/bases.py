"""Images that a build stands on or copies from: those that are here, others from their registry."""

from collections.abc import Mapping

from events.base import Command
from events.errors import InvalidParameter, NotFound
from events.lookup import NoSuchImage, find_image
from events.messages.image import Credentials, PullImages
from events.projections.images import Image
from events.references import parse
from handlers.context import Context

_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")


async def base_image(
    context: Context, name: str, platform: str, credentials: Mapping[str, Credentials], *, pulls: bool
) -> Image:
    """The image of this name or id, pulled where it isn't here, isn't for the platform, or `pulls` asks for a newer.

    Raises InvalidReference, and what the pull raises.
    """
    check_platform(platform)
    found = _local(context, name)
    if found is not None and _fits(found, platform) and not (pulls and found.references and not _is_id(found, name)):
        return found
    reference = parse(name).with_default_tag
    command: Command[object] = PullImages(  # type: ignore[assignment]  # only that it ends counts
        name=reference.canonical, platform=platform, credentials=credentials_for(reference.name, credentials)
    )
    await context.send(command)
    return find_image(context.state.images, name)


def check_platform(platform: str) -> None:
    """Raises InvalidParameter for what names none."""
    parts = platform.split("/")
    if platform and (len(parts) > 3 or not all(parts)):
        raise InvalidParameter(
            f'failed to parse platform {platform}: "{platform}": cannot parse platform specifier: invalid argument'
        )


def credentials_for(repository: str, credentials: Mapping[str, Credentials]) -> Credentials:
    """What a client gave for the registry of a repository (canonical name)."""
    host = repository.partition("/")[0]
    keys = _HUB if host in _HUB else (host, f"https://{host}", f"http://{host}")
    return next((credentials[key] for key in keys if key in credentials), Credentials())


def _local(context: Context, name: str) -> Image | None:
    try:
        return find_image(context.state.images, name)
    except (NoSuchImage, NotFound):
        return None


def _is_id(image: Image, name: str) -> bool:
    return image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))


def _fits(image: Image, platform: str) -> bool:
    have = (image.config.os, image.config.architecture, image.config.variant)
    return all(not ours or wanted == ours for wanted, ours in zip(platform.split("/"), have, strict=False) if wanted)
