"""Which image a client means; without it queries and commands could disagree about a name."""

from events import references
from events.errors import InvalidParameter, NotFound
from events.projections.images import Image, Images


class NoSuchImage(NotFound):
    """Nothing has this name, id or prefix. `name` is as Docker shows it, with the default tag."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"No such image: {name}")


class AmbiguousImage(InvalidParameter):
    """A prefix that several ids begin with."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(f"ambiguous reference: {prefix}")


def find_image(images: Images, name: str) -> Image:
    """The image with this full id, this name (familiar or canonical, `latest` by default) or unique id prefix.

    Only images that are ready are found. Raises NoSuchImage, AmbiguousImage, InvalidReference.
    """
    if references.is_image_id(name):
        return _by_id(images, name)
    if not name.startswith("sha256:"):
        reference = references.parse(name).with_default_tag
        named = _named(images, reference)
        if named is not None and named.status == "ready":
            return named
        shown = reference.familiar
    else:
        shown = name
    return _by_prefix(images, name, shown)


def names_by_id(image: Image, name: str) -> bool:
    """Whether a client that said `name` meant the image by its id (or the beginning of it)."""
    digits = name.removeprefix("sha256:")
    return bool(digits) and image.id.startswith(f"sha256:{digits}")


def _named(images: Images, reference: references.Reference) -> Image | None:
    found = images.named(reference.canonical)
    if found is None and reference.tag and reference.digest:  # the digest decides, the tag is decoration
        found = images.named(f"{reference.name}@{reference.digest}")
    return found


def _by_id(images: Images, name: str) -> Image:
    image_id = f"sha256:{name.removeprefix('sha256:')}"
    image = images.get(image_id)
    if image is None or image.status != "ready":
        raise NoSuchImage(image_id)
    return image


def _by_prefix(images: Images, prefix: str, shown: str) -> Image:
    digits = prefix.removeprefix("sha256:")
    found = [image for image in images.with_prefix(digits) if image.status == "ready"] if digits else []
    if not found:
        raise NoSuchImage(shown)
    if len(found) > 1:
        raise AmbiguousImage(prefix)
    return found[0]
