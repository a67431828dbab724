"""How freed memory is kept: in one area, and not for ever."""

import subprocess
import sys

SCRIPT = """
import threading
from pathlib import Path
from handlers.kernel.memory import give_back, share_one_area

def anonymous_kb():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

def keep_a_little():
    held = [bytes(100_000) for _ in range(300)]
    kept.append(held[-1])

share_one_area()
kept = []
before = anonymous_kb()
threads = [threading.Thread(target=keep_a_little) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
give_back()
print(anonymous_kb() - before)
"""


def test_what_many_threads_have_freed_goes_back():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 5_000
