"""Opens what the log keeps sealed, for the eyes of an API client; a destroyed value shows as such."""

from typing import TypeVar

import msgspec

from daemon.shapes.go_values import DESTROYED
from events.messages.container import ContainerConfig, ContainerSecrets, HostConfig, Mount
from events.messages.exec import ExecSecrets
from events.projections.containers import Container
from events.sealed import KeyDestroyed, Keyring, Sealed

Secrets = TypeVar("Secrets")

DESTROYED_CONTAINER = ContainerSecrets(env=(DESTROYED,), cmd=(DESTROYED,))
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
    replace = msgspec.structs.replace
    probe = container.config.healthcheck
    config = replace(
        container.config,
        env=secrets.env,
        cmd=secrets.cmd,
        entrypoint=secrets.entrypoint,
        healthcheck=replace(probe, test=secrets.healthcheck_test) if probe else None,
    )
    log = replace(container.host.log_config, config=secrets.log_options)
    mounts = tuple(_with_options(mount, secrets) for mount in container.host.mounts)
    return Opened(config=config, host=replace(container.host, log_config=log, mounts=mounts))


def _with_options(mount: Mount, secrets: ContainerSecrets) -> Mount:
    """A mount with the driver options of the volume that it may create."""
    asked = mount.volume_options
    options = secrets.volume_options.get(mount.target)
    if asked is None or asked.driver_config is None or not options:
        return mount
    driver = msgspec.structs.replace(asked.driver_config, options=options)
    return msgspec.structs.replace(mount, volume_options=msgspec.structs.replace(asked, driver_config=driver))


def open_exec(sealed: Sealed, keyring: Keyring) -> ExecSecrets:
    """Arguments and environment of an exec."""
    return open_sealed(sealed, keyring, ExecSecrets, DESTROYED_EXEC)


def open_options(sealed: Sealed | None, keyring: Keyring) -> dict[str, str] | None:
    """A volume's driver options; None when it has none."""
    if sealed is None:
        return None
    return open_sealed(sealed, keyring, dict[str, str], {DESTROYED: ""})
