"""What can go wrong with images, by name; the wording is dockerd's."""

from events.errors import Conflict, InvalidParameter, SystemFailure


def short_id(identifier: str) -> str:
    """Twelve digits of an id, as messages show it."""
    return identifier.removeprefix("sha256:")[:12]


class ImageInUse(Conflict):
    """A removal that something stands against; `subject` is how the client named the image, or its short id."""

    def __init__(self, subject: str, why: str, *, forcible: bool) -> None:
        self.subject, self.why, self.forcible = subject, why, forcible
        force = "must be forced" if forcible else "cannot be forced"
        super().__init__(f"conflict: unable to delete {subject} ({force}) - {why}")


class BadImageArchive(InvalidParameter):
    """An archive that isn't an image, or contradicts itself."""


class NotInArchive(BadImageArchive):
    """A manifest speaks of a file that isn't there."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name}: no such file in the archive")


class ContentMismatch(BadImageArchive):
    """A file isn't what its digest says."""

    def __init__(self, name: str, expected: str, actual: str) -> None:
        self.name, self.expected, self.actual = name, expected, actual
        super().__init__(f"{name}: digest mismatch: expected {expected}, got {actual}")


class OtherSystem(BadImageArchive):
    """An image for another operating system."""

    def __init__(self, system: str) -> None:
        self.system = system
        super().__init__(f"cannot load {system} image on linux")


class ImageUnsettled(SystemFailure):
    """An image whose creation or removal failed half way; it is tried again at the next command and start."""

    def __init__(self, image_id: str) -> None:
        self.image_id = image_id
        super().__init__(f"image {image_id} is being changed")
