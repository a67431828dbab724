"""`python -m tests.subscribers [EVENTS]`: the whole run; exit status 1 when anything is missing or came twice."""

import argparse
import signal
import sys

import anyio

from tests.subscribers.campaign import Size, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="subscribers", description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=100_000)
    parser.add_argument("--subscribers", type=int, default=50)
    parser.add_argument("--stalled", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stall-s", type=float, default=60.0)
    parser.add_argument("--limit-s", type=float, default=1800.0)
    size = Size(**vars(parser.parse_args()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleaned up
    report = anyio.run(run, size)
    print(  # noqa: T201  # it is a program
        f"{report.events} events, {size.subscribers} subscribers of which {size.stalled} stalled {size.stall_s:.0f} s, "
        f"a file and a JetStream stream; writer and nats-server killed {report.kills} times; clock set back: "
        f"{'yes' if report.turned_back else 'no'}\n{report.received} received in {report.seconds:.0f} s, "
        f"{report.gaps} gaps, {report.duplicates} duplicates"
    )
    return int(report.gaps or report.duplicates or not report.turned_back)


if __name__ == "__main__":
    sys.exit(main())
