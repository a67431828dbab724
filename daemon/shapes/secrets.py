"""Opens what the log keeps sealed, for the eyes of an API client; a destroyed value shows as such."""

from typing import TypeVar

import msgspec

from daemon.shapes.go_values import DESTROYED
from events.messages.container import ContainerConfig, ContainerSecrets, HostConfig
from events.messages.exec import ExecSecrets
from events.messages.image import ImageSecrets
from events.opened import with_image_secrets, with_secrets
from events.projections.containers import Container
from events.projections.images import Image
from events.sealed import KeyDestroyed, Keyring, Sealed

Secrets = TypeVar("Secrets")

DESTROYED_CONTAINER = ContainerSecrets(env=(DESTROYED,), cmd=(DESTROYED,))
DESTROYED_IMAGE = ImageSecrets(env=(DESTROYED,), cmd=(DESTROYED,))
DESTROYED_EXEC = ExecSecrets(cmd=(DESTROYED,), env=(DESTROYED,))


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A container's configuration, complete."""

    config: ContainerConfig
    host: HostConfig


def open_sealed(sealed: Sealed, keyring: Keyring, kind: type[Secrets], destroyed: Secrets) -> Secrets:
    """What was sealed, as a `kind`; `destroyed` when its key is gone."""
    try:
        plain = keyring.open(sealed)
    except KeyDestroyed:
        return destroyed
    return msgspec.json.decode(plain, type=kind)


def open_container(container: Container, keyring: Keyring) -> Opened:
    """The configuration with environment, command, probe and log options put back."""
    secrets = open_sealed(container.secrets, keyring, ContainerSecrets, DESTROYED_CONTAINER)
    config, host = with_secrets(container.config, container.host, secrets)
    return Opened(config=config, host=host)


def open_image(image: Image, keyring: Keyring) -> Image:
    """An image with environment, commands and history put back."""
    if image.secrets is None:
        return image
    return with_image_secrets(image, open_sealed(image.secrets, keyring, ImageSecrets, DESTROYED_IMAGE))


def open_exec(sealed: Sealed, keyring: Keyring) -> ExecSecrets:
    """Arguments and environment of an exec."""
    return open_sealed(sealed, keyring, ExecSecrets, DESTROYED_EXEC)


def open_options(sealed: Sealed | None, keyring: Keyring) -> dict[str, str] | None:
    """A volume's driver options; None when it has none."""
    if sealed is None:
        return None
    return open_sealed(sealed, keyring, dict[str, str], {DESTROYED: ""})
