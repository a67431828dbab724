"""What of a configuration may be secret; without the split it would stand in the log for ever."""

import msgspec

from events.messages.container import (
    ContainerConfig,
    ContainerSecrets,
    HostConfig,
    VolumeDriverConfig,
    VolumeOptions,
)


def split_secrets(config: ContainerConfig, host: HostConfig) -> tuple[ContainerConfig, HostConfig, ContainerSecrets]:
    """What may go into the log in clear, and what must be sealed."""
    check = config.healthcheck
    secrets = ContainerSecrets(
        env=config.env,
        cmd=config.cmd,
        entrypoint=config.entrypoint,
        healthcheck_test=check.test if check else (),
        log_options=host.log_config.config,
        volume_options={
            mount.target: mount.volume_options.driver_config.options
            for mount in host.mounts
            if mount.volume_options and mount.volume_options.driver_config
        },
    )
    replace = msgspec.structs.replace
    bare_mounts = tuple(
        replace(mount, volume_options=replace(mount.volume_options, driver_config=_bare_driver(mount.volume_options)))
        if mount.volume_options
        else mount
        for mount in host.mounts
    )
    bare_config = replace(
        config, env=(), cmd=(), entrypoint=None, healthcheck=replace(check, test=check.test[:1]) if check else None
    )
    bare_log = replace(host.log_config, config=dict.fromkeys(host.log_config.config, ""))
    return bare_config, replace(host, log_config=bare_log, mounts=bare_mounts), secrets


def _bare_driver(options: VolumeOptions) -> VolumeDriverConfig | None:
    driver = options.driver_config
    return msgspec.structs.replace(driver, options={}) if driver else None
