"""A container's configuration made whole again from its public and its sealed part."""

import msgspec

from events.messages.container import ContainerConfig, ContainerSecrets, HostConfig, Mount

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
