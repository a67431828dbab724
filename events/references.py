"""Names of images: what a client writes, what the log holds, what a client is shown; without it one image would have
several names.

Canonical is `docker.io/library/busybox:latest`, familiar is `busybox:latest`. The grammar is that of
https://github.com/distribution/reference, kept by the library docker-image-py.
"""

import re
from functools import lru_cache

import msgspec
from docker_image.digest import InvalidDigest  # type: ignore[import-untyped]
from docker_image.reference import InvalidReference as LibraryError  # type: ignore[import-untyped]
from docker_image.reference import NameEmpty, ReferenceInvalidFormat, TagInvalidFormat
from docker_image.reference import Reference as Parser

from events.errors import InvalidParameter

DEFAULT_TAG = "latest"
_HUB = "docker.io/"
_OFFICIAL = "library/"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class InvalidReference(InvalidParameter):
    """Not a name that an image can have; worded as Docker does."""

    def __init__(self, reason: str = "") -> None:
        text = reason.removeprefix("invalid reference format").removeprefix(": ")
        super().__init__(f"invalid reference format: {text}" if text else "invalid reference format")


class InvalidTag(InvalidParameter):
    """Not a tag."""

    def __init__(self) -> None:
        super().__init__("invalid tag format")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed name; `name` is canonical (`docker.io/library/busybox`), `tag` and `digest` are "" when absent."""

    name: str
    tag: str = ""
    digest: str = ""

    @property
    def canonical(self) -> str:
        """As the log holds it."""
        return self._with_suffix(self.name)

    @property
    def familiar(self) -> str:
        """As a client is shown it."""
        return self._with_suffix(self.familiar_name)

    @property
    def familiar_name(self) -> str:
        """The name alone, as a client is shown it."""
        if not self.name.startswith(_HUB):
            return self.name
        path = self.name.removeprefix(_HUB)
        rest = path.removeprefix(_OFFICIAL)
        return path if "/" in rest else rest

    @property
    def with_default_tag(self) -> "Reference":
        """With `latest` where there is neither tag nor digest."""
        return self if self.tag or self.digest else msgspec.structs.replace(self, tag=DEFAULT_TAG)

    def _with_suffix(self, name: str) -> str:
        return name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Read a name as a client writes it (`busybox`, `reg:5000/a/b:1`, `a@sha256:...`). Raises InvalidReference."""
    if _IDENTIFIER.fullmatch(text):
        raise InvalidParameter(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    if text != text.rstrip("\n"):  # the library's `$` lets a last newline pass
        raise InvalidReference
    try:
        parsed = Parser.parse_normalized_named(text)
    except (NameEmpty, ReferenceInvalidFormat, TagInvalidFormat, InvalidDigest) as error:
        raise InvalidReference from error
    except LibraryError as error:
        raise InvalidReference(str(error)) from error
    return Reference(name=parsed["name"], tag=parsed["tag"] or "", digest=parsed["digest"] or "")


def canonical(text: str) -> str:
    """A name as the log holds it, with `latest` where neither tag nor digest is given. Raises InvalidReference."""
    return parse(text).with_default_tag.canonical


def tagged(repository: str, tag: str) -> str:
    """The canonical name of `repo` and `tag` as the API gives them apart; `tag` "" is `latest`.

    Raises InvalidReference, InvalidTag.
    """
    reference = parse(repository)
    if reference.digest:
        raise InvalidParameter("refusing to create a tag with a digest reference")
    if tag and not _TAG.fullmatch(tag):
        raise InvalidTag
    return msgspec.structs.replace(reference, tag=tag or reference.tag or DEFAULT_TAG).canonical


@lru_cache(maxsize=8192)  # lists show the same names again and again, and the grammar is slow
def familiar(reference: str) -> str:
    """A canonical name as a client is shown it; anything else comes back as it is."""
    try:
        return parse(reference).familiar
    except InvalidParameter:
        return reference


def is_image_id(text: str) -> bool:
    """Whether a text can only be a full image id, with or without `sha256:`."""
    return bool(_IDENTIFIER.fullmatch(text) or _DIGEST.fullmatch(text))
