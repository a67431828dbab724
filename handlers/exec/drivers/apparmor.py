"""The engine's default AppArmor profile; without it a kernel that has AppArmor would guard containers with nothing.

Language: apparmor.d(5). Masked and read-only paths hold only until somebody mounts or is given the bare /proc and /sys;
the profile goes on holding. It is loaded by apparmor_parser(8), the one program that can compile it.
"""

from pathlib import Path

from events.errors import SystemFailure
from handlers.kernel import processes

NAME = "shiplog-default"
_LOADED = Path("/sys/kernel/security/apparmor/profiles")
_TIMEOUT_S = 30.0
PROFILE = f"""\
profile {NAME} flags=(attach_disconnected, mediate_deleted) {{
  # Capabilities, seccomp and namespaces say what a container may do; this profile is about what they can't see.
  capability,
  file,
  network,
  umount,

  # Whether somebody outside may signal or trace a container is for that one's own profile to say.
  signal (receive),
  signal (send) peer={NAME},
  ptrace (readby, tracedby),
  ptrace (read, trace) peer={NAME},

  deny mount,

  # In /proc a process may write what is about processes: directories named by a number.
  deny /proc/[^0-9]* w,
  deny /proc/[^0-9s]*/** w,
  deny /proc/s[^y]*/** w,
  deny /proc/sys?*/** w,
  deny /proc/{{kcore,sysrq-trigger}} rw,

  # And of /proc/sys what a namespace has of its own: net, fs/mqueue, kernel/msg*, kernel/sem*, kernel/shm*.
  deny /proc/sys/[^fkn]** w,
  deny /proc/sys/fs/[^m]** w,
  deny /proc/sys/fs/m[^q]** w,
  deny /proc/sys/k[^e]** w,
  deny /proc/sys/ke[^r]** w,
  deny /proc/sys/kernel/[^ms]** w,
  deny /proc/sys/kernel/m[^s]** w,
  deny /proc/sys/kernel/s[^eh]** w,
  deny /proc/sys/kernel/se[^m]** w,

  # In /sys only control groups are anybody's to write.
  deny /sys/[^f]** w,
  deny /sys/f[^s]** w,
  deny /sys/fs/[^c]** w,
  deny /sys/fs/c[^g]** w,
  deny /sys/{{firmware,kernel/security}}/{{,**}} rw,
}}
"""


class DefaultProfile:
    """Keeps the profile in the kernel. `parser` is the path of apparmor_parser, "" where the host has none."""

    def __init__(self, parser: str, loaded: Path = _LOADED) -> None:
        self._parser, self._loaded = parser, loaded

    async def load(self) -> None:
        """Load it in place of what another version has loaded. Raises SystemFailure that tells why it can't be."""
        if not self._parser:
            raise SystemFailure("apparmor_parser (Debian package apparmor) is missing")
        done = await processes.run(
            [self._parser, "--replace", "--skip-cache", "--quiet"], timeout_s=_TIMEOUT_S, text=PROFILE
        )
        if done.code != 0:
            raise SystemFailure(f"apparmor_parser: {done.output.strip()} (exit {done.code})")

    async def ensure(self, name: str) -> None:
        """Load it again if `name` is its name and an administrator's tool has removed it. Raises SystemFailure."""
        if name == NAME and not self._is_loaded():
            await self.load()

    def _is_loaded(self) -> bool:
        """A line is `NAME (MODE)`. Who can't read the list can't tell, and leaves it to the runtime."""
        try:
            lines = self._loaded.read_text().splitlines()
        except OSError:
            return True
        return any(line.startswith(f"{NAME} (") for line in lines)


def of_process(pid: int) -> str:
    """The profile a process runs under, "unconfined", or "" where there is no AppArmor or no such process."""
    try:
        return of_label(Path(f"/proc/{pid}/attr/apparmor/current").read_text())
    except OSError:
        return ""


def of_label(label: str) -> str:
    """A profile's name from what the kernel shows: `NAME (MODE)`, or `unconfined` alone."""
    name, _, mode = label.rstrip("\0\n").rpartition(" (")
    return name or mode
