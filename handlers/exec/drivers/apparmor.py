"""The engine's default AppArmor profile; without it a kernel that has AppArmor would guard containers with nothing.

Language: apparmor.d(5). The profile keeps a process that is root inside from what masks and read-only mounts hide:
they hold only as long as nobody can mount.
"""

import logging
import shutil

from events.errors import SystemFailure
from handlers.exec.host_facts import HostFacts
from handlers.kernel import processes

LOGGER = logging.getLogger(__name__)
NAME = "shiplog-default"
_TIMEOUT_S = 30.0
_SEARCH_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
PROFILE = f"""
@{{PROC}}=/proc/

profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,

  # the engine and the runtime may signal a container, its processes one another
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer={NAME},
  ptrace (trace,read,tracedby,readby) peer={NAME},

  deny mount,

  # of /proc only what belongs to processes, and the few settings that namespaces have of their own
  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{acpi,asound,bus,driver,dynamic_debug,fs,irq,scsi,sysvipc,tty}}/** w,
  deny @{{PROC}}/sys/{{abi,crypto,debug,dev,fs,sunrpc,user,vm}}/** w,
  deny @{{PROC}}/sys/kernel/[^dhms]* w,
  deny @{{PROC}}/sys/kernel/{{dmesg,hotplug,hung,max_,modp,modu,sched,soft,stack,sysc,sysr}}* w,
  deny @{{PROC}}/sys/kernel/*/** w,
  deny @{{PROC}}/{{kcore,sysrq-trigger}} rwklx,

  # of /sys nothing but the container's own control groups
  deny /sys/{{block,bus,class,dev,devices,hypervisor,kernel,module,power}}/** wklx,
  deny /sys/fs/{{bpf,btrfs,ext4,f2fs,fuse,pstore,resctrl,selinux,smackfs,xfs}}/** wklx,
  deny /sys/{{firmware,devices/virtual/powercap,kernel/security}}/** rwklx,
}}
"""


async def ensure_profile(facts: HostFacts, *, parser: str = "") -> str:
    """Load the profile and return its name; "" where the kernel has no AppArmor or the profile can't be loaded.

    `parser` is the path of apparmor_parser(8), looked for when it is "".
    """
    if not facts.apparmor:
        return ""
    program = parser or shutil.which("apparmor_parser", path=_SEARCH_PATH)
    if not program:
        LOGGER.warning("containers run without an AppArmor profile: apparmor_parser (package apparmor) is missing")
        return ""
    try:
        loaded = await processes.run([program, "--replace", "--quiet"], timeout_s=_TIMEOUT_S, text=PROFILE)
    except SystemFailure as error:
        LOGGER.warning("containers run without an AppArmor profile: %s", error)
        return ""
    if loaded.code != 0:
        LOGGER.warning("containers run without an AppArmor profile: %s", loaded.output.strip())
        return ""
    return NAME
