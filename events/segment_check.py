"""Checks complete files of the log in a process of its own: a boot over a long history folds meanwhile.

    python -m events.segment_check FILE...

Exit status 0 when every event of them is what it was, WRONG with what isn't on standard output.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from events.errors import EngineError
from events.older_segments import OlderSegment

WRONG: Final = 3  # no status that Python has of its own


def main(paths: Sequence[str]) -> int:
    """Check one file after the other."""
    try:
        for path in paths:
            segment = OlderSegment.read(Path(path))
            segment.verify()
            segment.close()
    except (EngineError, OSError) as error:
        sys.stdout.write(str(error))
        return WRONG
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
