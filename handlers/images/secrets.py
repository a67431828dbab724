"""What of an image may be secret; without the split a committed environment would stand in the log for ever."""

import msgspec

from events.messages.image import ImageConfig, ImageSecrets
from events.sealed import Sealed
from handlers.context import Context
from handlers.images import naming


def split_secrets(config: ImageConfig) -> tuple[ImageConfig, ImageSecrets]:
    """What may go into the log in clear, and what must be sealed."""
    defaults, check = config.config, config.config.healthcheck
    secrets = ImageSecrets(
        env=defaults.env,
        entrypoint=defaults.entrypoint,
        cmd=defaults.cmd,
        healthcheck_test=check.test if check else (),
        on_build=defaults.on_build,
        created_by=tuple(line.created_by for line in config.history),
    )
    replace = msgspec.structs.replace
    bare_check = replace(check, test=check.test[:1]) if check else None
    bare = replace(defaults, env=(), entrypoint=(), cmd=(), on_build=(), healthcheck=bare_check)
    return replace(config, config=bare, history=tuple(replace(line, created_by="") for line in config.history)), secrets


async def seal(context: Context, image_id: str, config: ImageConfig) -> tuple[ImageConfig, Sealed]:
    """What of a configuration goes into the log. Raises SystemFailure."""
    bare, secrets = split_secrets(config)
    return bare, await context.keyring.seal(naming.stream(image_id), msgspec.json.encode(secrets))
