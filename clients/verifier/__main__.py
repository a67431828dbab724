"""`shiplog-audit`: checks a copy of an engine's log with nothing but its public key and checkpoints kept elsewhere."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.verifier.checkpoints import checkpoints, public_key
from clients.verifier.records import AuditFailed
from clients.verifier.verify import Audit

FAILED = 1
MISUSED = 2
INTERRUPTED = 130  # what a shell says of a program that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 for a true log, 1 for one that isn't or can't be read, 2 for a bad command line, 130 by Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="shiplog-audit",
        description="Check that a copied log is complete and unchanged, and that it is the one that was signed.",
        epilog="As many files are checked at once as there are processors; each takes room for a copy below $TMPDIR.",
    )
    parser.add_argument("log", type=Path, help="directory of the copied log, or its only file")
    parser.add_argument("--key", type=Path, help="the engine's public key (checkpoints/public.pem)")
    parser.add_argument(
        "--checkpoints", type=Path, action="append", default=[], help="file of signed checkpoints, one a line"
    )
    given = parser.parse_args(arguments)
    if given.checkpoints and given.key is None:
        print("shiplog-audit: --checkpoints needs --key: who signed them?", file=sys.stderr)  # noqa: T201
        return MISUSED
    try:
        key = public_key(given.key) if given.key else None
        signed = [each for path in given.checkpoints if key for each in checkpoints(path, key)]
        found = Audit(signed).run(given.log)
    except (AuditFailed, OSError) as error:
        print(f"shiplog-audit: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        print("shiplog-audit: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    print(f"log {found.log}: events 1 to {found.events} in {found.files} files are complete and unchanged")  # noqa: T201
    if signed:
        print(f"it bears out {found.checkpoints} checkpoints, the newest of event {found.signed}")  # noqa: T201
    else:
        print("no checkpoint was given: a log written anew from its start would look the same")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
