"""`shiplogd`: reads its configuration, sets up its own log, and runs the engine until it is told to stop."""

import logging
import sys
from collections.abc import Sequence

import anyio

from daemon.config import load
from daemon.engine import run
from daemon.flags import ConfigurationInvalid
from daemon.log_repair import repair_log
from events.errors import EngineError, first_error
from events.log import LogBroken, NewerLog
from handlers.kernel.memory import share_one_area

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

REPAIR = (
    "restore the data-root from a copy, or keep what verifies of this log and set the rest aside: shiplogd --repair"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 after an orderly stop, 1 when the engine can't start or go on."""
    try:
        configuration = load(sys.argv[1:] if arguments is None else arguments)
        logging.basicConfig(format=FORMAT, level=configuration.logging_level)
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every request otherwise
        if configuration.given.get("repair"):
            sys.stdout.writelines(f"{line}\n" for line in repair_log(configuration))
            return 0
        share_one_area()
        anyio.run(run, configuration, backend_options={"use_uvloop": True})
    except (Exception, BaseExceptionGroup) as failure:
        error = first_error(failure)
        if not isinstance(error, ConfigurationInvalid | EngineError | OSError | ValueError):
            raise
        hint = f"\n{REPAIR}" if isinstance(error, LogBroken) and not isinstance(error, NewerLog) else ""
        print(f"shiplogd: {error}{hint}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
