"""Everything that can be asked of the exec handler: containers' first processes, and processes run in them later."""

from typing import ClassVar

import msgspec

from events.base import Command, Event
from events.messages.container import ContainerConfig, HostConfig
from events.sealed import Sealed

# ---- a container's first process; its intents and outcomes are the container's (`messages/container.py`)


class ResolvedMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount with its source found, ready for the runtime specification."""

    type: str  # "bind" or "tmpfs"
    source: str = ""  # absolute host path of a bind
    destination: str
    writable: bool = True
    propagation: str = ""  # "" is rprivate
    non_recursive: bool = False
    read_only_non_recursive: bool = False
    options: str = ""  # tmpfs mount options, comma-separated
    subpath: str = ""  # relative path inside the source, resolved without leaving it
    create_source: bool = False  # make a directory of a bind's source when nothing is there


class CreatedProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CreateProcess. `warnings` name what was asked for and couldn't be had."""

    pid: int
    apparmor_profile: str = ""  # which it will run under, "unconfined", or "" where there is no AppArmor
    warnings: tuple[str, ...] = ()


class PrepareProcess(Command[None], frozen=True, kw_only=True):
    """Do what the first process needs before its file system and network are there; DeleteProcess undoes it."""

    TYPE: ClassVar[str] = "exec.prepare_process"
    container_id: str


class CreateProcess(Command[CreatedProcess], frozen=True, kw_only=True):
    """Make bundle, cgroup and first process, up to the point where it waits for its start."""

    TYPE: ClassVar[str] = "exec.create_process"
    container_id: str
    rootfs: str
    namespace_path: str  # network namespace; "" is the host's
    mounts: tuple[ResolvedMount, ...]


class CheckedProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CheckProcess: what was asked for and can't be had on this host."""

    warnings: tuple[str, ...] = ()


class CheckProcess(Command[CheckedProcess], frozen=True, kw_only=True):
    """Say, before anything is made, what of a configuration this host refuses (InvalidParameter) or lacks."""

    TYPE: ClassVar[str] = "exec.check_process"
    config: ContainerConfig
    host: HostConfig


class UpdateProcess(Command[CheckedProcess], frozen=True, kw_only=True):
    """Set a container's limits to those of `host` while it has a process, and say in any case what can't be had."""

    TYPE: ClassVar[str] = "exec.update_process"
    container_id: str
    host: HostConfig


class FoundProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of FindProcess: what the host shows. `pid` 0: there is no process."""

    pid: int
    started: bool = False  # it runs its program; False while it waits for its start
    frozen: bool = False
    apparmor_profile: str = ""  # as in CreatedProcess


class FindProcess(Command[FoundProcess], frozen=True, kw_only=True):
    """Look at the host (recovery does, to settle an open intent)."""

    TYPE: ClassVar[str] = "exec.find_process"
    container_id: str


class StartProcess(Command[None], frozen=True, kw_only=True):
    """Let the first process run its program."""

    TYPE: ClassVar[str] = "exec.start_process"
    container_id: str


class SignalProcess(Command[None], frozen=True, kw_only=True):
    """Send a signal (number) to the first process; ended already is NotModified."""

    TYPE: ClassVar[str] = "exec.signal_process"
    container_id: str
    signal: int


class FreezeProcess(Command[None], frozen=True, kw_only=True):
    """Freeze or thaw all processes of a container."""

    TYPE: ClassVar[str] = "exec.freeze_process"
    container_id: str
    frozen: bool


class ResizeProcess(Command[None], frozen=True, kw_only=True):
    """Set the terminal's size in characters; `exec_id` "" is the first process."""

    TYPE: ClassVar[str] = "exec.resize_process"
    container_id: str
    exec_id: str = ""
    height: int
    width: int


class DeleteProcess(Command[None], frozen=True, kw_only=True):
    """Kill what is left and take down runtime state, cgroup, conmon and bundle; absent is fine.

    The output file and the exit status stay until RemoveProcessFiles.
    """

    TYPE: ClassVar[str] = "exec.delete_process"
    container_id: str


class RemoveProcessFiles(Command[None], frozen=True, kw_only=True):
    """Remove output and exit files of a container that is being removed; absent is fine."""

    TYPE: ClassVar[str] = "exec.remove_process_files"
    container_id: str


class ProcessExited(Event, frozen=True, kw_only=True):
    """A container's first process has ended. Stream `process/<container id>`.

    `exit_code` is -1 never: without an exit file it is 255 (reboot, lost conmon) and `known` is False.
    """

    TYPE: ClassVar[str] = "process.exited"
    container_id: str
    run: int
    exit_code: int
    oom_killed: bool
    finished_at_ns: int
    known: bool = True


# ---- processes run in a container later (`docker exec`)


class ExecConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and how; arguments and environment are in ExecSecrets."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    working_dir: str = ""
    console_size: tuple[int, int] = (0, 0)  # height, width


class ExecSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """Sealed with the container's key."""

    cmd: tuple[str, ...]
    env: tuple[str, ...] = ()


class CreatedExec(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CreateExec."""

    exec_id: str


class CreateExec(Command[CreatedExec], frozen=True, kw_only=True):
    """Prepare a process in a running container. `container` is an id, a prefix or a name."""

    TYPE: ClassVar[str] = "exec.create"
    container: str
    config: ExecConfig
    cmd: tuple[str, ...]
    env: tuple[str, ...] = ()


class StartExec(Command[None], frozen=True, kw_only=True):
    """Run it; answered when it runs. Its streams go to whoever waits for them under the exec's id."""

    TYPE: ClassVar[str] = "exec.start"
    exec_id: str
    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] = (0, 0)


class ResizeExec(Command[None], frozen=True, kw_only=True):
    """Set its terminal's size in characters."""

    TYPE: ClassVar[str] = "exec.resize"
    exec_id: str
    height: int
    width: int


class ExecCreated(Event, frozen=True, kw_only=True):
    """Stream `exec/<id>`."""

    TYPE: ClassVar[str] = "exec.created"
    exec_id: str
    container_id: str
    run: int  # of the container
    config: ExecConfig
    secrets: Sealed


class ExecStartRequested(Event, frozen=True, kw_only=True):
    """Intent."""

    TYPE: ClassVar[str] = "exec.start_requested"
    exec_id: str


class ExecStarted(Event, frozen=True, kw_only=True):
    """It runs."""

    TYPE: ClassVar[str] = "exec.started"
    exec_id: str
    pid: int


class ExecStartFailed(Event, frozen=True, kw_only=True):
    """It never ran. `exit_code` as Docker tells it (126, 127), in `error` why."""

    TYPE: ClassVar[str] = "exec.start_failed"
    exec_id: str
    exit_code: int
    error: str


class ExecExited(Event, frozen=True, kw_only=True):
    """It has ended; `known` is False where nobody saw how."""

    TYPE: ClassVar[str] = "exec.exited"
    exec_id: str
    exit_code: int
    known: bool = True
