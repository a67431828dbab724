"""Configurations of containers and images made whole again from their public and their sealed part."""

import msgspec

from events.messages.container import ContainerConfig, ContainerSecrets, HostConfig, Mount
from events.messages.image import ImageSecrets
from events.projections.images import Image
from events.sealed import Keyring

_replace = msgspec.structs.replace


def with_secrets(
    config: ContainerConfig, host: HostConfig, secrets: ContainerSecrets
) -> tuple[ContainerConfig, HostConfig]:
    """With environment, command, probe, log options and volumes' driver options put back."""
    probe = config.healthcheck
    whole = _replace(
        config,
        env=secrets.env,
        cmd=secrets.cmd,
        entrypoint=secrets.entrypoint,
        healthcheck=_replace(probe, test=secrets.healthcheck_test) if probe else None,
    )
    log = _replace(host.log_config, config=secrets.log_options)
    mounts = tuple(_with_options(mount, secrets) for mount in host.mounts)
    return whole, _replace(host, log_config=log, mounts=mounts)


def _with_options(mount: Mount, secrets: ContainerSecrets) -> Mount:
    """A mount with the driver options of the volume that it may create."""
    asked = mount.volume_options
    options = secrets.volume_options.get(mount.target)
    if asked is None or asked.driver_config is None or not options:
        return mount
    driver = _replace(asked.driver_config, options=options)
    return _replace(mount, volume_options=_replace(asked, driver_config=driver))


def open_image(image: Image, keyring: Keyring) -> Image:
    """An image with its whole configuration; one of an older log has it in clear. Raises KeyDestroyed."""
    if image.secrets is None:
        return image
    return with_image_secrets(image, msgspec.json.decode(keyring.open(image.secrets), type=ImageSecrets))


def with_image_secrets(image: Image, secrets: ImageSecrets) -> Image:
    """With environment, commands, probe and the history's commands put back."""
    defaults = image.config.config
    check = defaults.healthcheck
    whole = _replace(
        defaults,
        env=secrets.env,
        entrypoint=secrets.entrypoint,
        cmd=secrets.cmd,
        healthcheck=_replace(check, test=secrets.healthcheck_test) if check else None,
        on_build=secrets.on_build,
    )
    lines = zip(image.config.history, secrets.created_by, strict=False)  # none where they were destroyed
    told = tuple(_replace(line, created_by=created_by) for line, created_by in lines)
    history = told + image.config.history[len(told) :]
    return _replace(image, config=_replace(image.config, config=whole, history=history))
