"""What the exec handler refuses, in Docker's words."""

from events.errors import Conflict, EngineError, InvalidParameter, NotFound, NotModified, SystemFailure
from handlers.exec.ports import StartError


class NoSuchExec(NotFound):
    """Nothing has this id."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"No such exec instance: {exec_id}")


class NoSuchProcess(NotFound):
    """The container isn't in the log."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"No such container: {container_id}")


class NoExecCommand(InvalidParameter):
    """Nothing to run."""

    def __init__(self) -> None:
        super().__init__("No exec command specified")


class NotRunning(Conflict):
    """The container has no process."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is not running")


class Paused(Conflict):
    """Its processes are frozen; another would be too."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Container {name} is paused, unpause the container before exec")


class Restarting(Conflict):
    """Between two runs there is nothing to enter."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Container {name} is restarting, wait until the container is running")


class HasRun(Conflict):
    """An exec runs once."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"Error: Exec command {exec_id} has already run")


class IsRunning(Conflict):
    """It runs, or is about to."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"Error: Exec command {exec_id} is already running")


class ExecNotRunning(Conflict):
    """It has no terminal to resize."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"exec {exec_id} is not running")


class HasEnded(NotModified):
    """There is nobody left to take a signal."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is not running")


class NamespaceOwnerNotRunning(Conflict):
    """A namespace can only be joined while its owner runs."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"cannot join namespace of a non running container: {container_id}")


class NotShareable(Conflict):
    """Its /dev/shm was made for itself alone."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"can't join IPC of container {container_id}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )


class CgroupNotShareable(Conflict):
    """Its cgroup namespace was made for itself alone."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"can't join cgroup namespace of container {container_id}: non-shareable cgroup namespace "
            "(hint: use CgroupnsMode:shareable for the donor container)"
        )


class RecursiveReadOnlyUnsupported(InvalidParameter):
    """A bind must be read-only with all that is mounted below it, and can't be."""

    def __init__(self, why: str) -> None:
        super().__init__(f"rro is not supported: {why}")


class ReadOnlyOptionsConflict(InvalidParameter):
    """ReadOnlyForceRecursive beside what excludes it."""

    def __init__(self, other: str) -> None:
        super().__init__(f"mount options conflict: ReadOnlyForceRecursive and {other}")


def refused(error: StartError) -> EngineError:
    """A program that isn't there or can't run is the client's mistake (400), anything else the host's (500)."""
    kind = InvalidParameter if error.exit_code in (126, 127) else SystemFailure
    return kind(error.message, recorded=error.recorded)


class NotPropagating(SystemFailure):
    """Mounts were to spread to or from a container, and don't on the host."""

    def __init__(self, path: str, mounted_on: str, wanted: str) -> None:
        super().__init__(f"path {path} is mounted on {mounted_on} but it is not {wanted}")


class SourceExchanged(SystemFailure):
    """Somebody has put something else in the place of a part of a volume while it was mounted."""

    def __init__(self, destination: str) -> None:
        super().__init__(f"what was to be mounted at {destination} was exchanged meanwhile; try again")
