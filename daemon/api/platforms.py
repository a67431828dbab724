"""The platforms that clients ask for; without it `--platform` would be taken and ignored.

Every image is here for one platform, so one can only be asked whether it is that.
"""

from collections.abc import Sequence

import msgspec

from daemon.http.messages import Request
from daemon.http.query import text
from events.errors import InvalidParameter, NotFound, Unsupported
from events.projections.images import Image
from handlers.images.platforms import Platform, host_platform


class OtherPlatform(NotFound):
    """The image is there, for another platform."""

    def __init__(self, name: str, actual: Platform, wanted: Platform) -> None:
        super().__init__(
            f"image with reference {name} was found but its platform ({actual.text}) "
            f"does not match the specified platform ({wanted.text})"
        )


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    """OCI image specification, image-index.md, `platform`; versions and features of an OS make no difference here."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


def check_image(request: Request, image: Image, since: tuple[int, int]) -> None:
    """`platform` of a query about one image, which API versions before `since` ignore.

    Raises InvalidParameter, and OtherPlatform for an image for something else.
    """
    if request.version >= since and (wanted := text(request.query, "platform")):
        platform, actual = _decoded(wanted), platform_of(image)
        if not actual.fits(platform):
            raise OtherPlatform(request.parameters["name"], actual, platform)


def check_removal(request: Request, image: Image) -> None:
    """`platforms` of a removal (API 1.50): an image has one, so all goes or nothing. Raises InvalidParameter."""
    asked: Sequence[str] = request.query.get("platforms", ()) if request.version >= (1, 50) else ()
    wanted = [_decoded(sent) for sent in asked if sent]
    for platform in wanted:
        if not (actual := platform_of(image)).fits(platform):
            reason = str(OtherPlatform(request.parameters["name"], actual, platform))
            raise InvalidParameter(reason)  # a forced removal takes "not found" for done


def check_load(request: Request) -> None:
    """`platform` of a load (API 1.48): the host's is what is taken anyway. Raises InvalidParameter, Unsupported."""
    for sent in request.query.get("platform", ()) if request.version >= (1, 48) else ():
        if sent and not (host := host_platform()).fits(platform := _decoded(sent)):
            raise Unsupported(f"loading images for {platform.text} is not supported yet: this host is {host.text}")


def check_saving(request: Request, image: Image) -> None:
    """`platform` of a save (API 1.48): an image is there for one. Raises InvalidParameter, OtherPlatform."""
    asked: Sequence[str] = request.query.get("platform", ()) if request.version >= (1, 48) else ()
    wanted = [_decoded(sent) for sent in asked if sent]
    actual = platform_of(image)
    if wanted and not any(actual.fits(platform) for platform in wanted):
        raise OtherPlatform(image.references[0] if image.references else image.id, actual, wanted[0])


def platform_of(image: Image) -> Platform:
    """What an image is for."""
    config = image.config
    return Platform(os=config.os or "linux", architecture=config.architecture, variant=config.variant)


def _decoded(sent: str) -> Platform:
    """Raises InvalidParameter in Docker's words."""
    try:
        found = msgspec.json.decode(sent, type=_Sent)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidParameter(f"failed to parse platform: {error}") from error
    if not found.os or not found.architecture:
        raise InvalidParameter("both OS and Architecture must be provided")
    return Platform(os=found.os, architecture=found.architecture, variant=found.variant)
