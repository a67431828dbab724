"""What can go wrong with containers, in Docker's words."""

from typing_extensions import override

from events.errors import Conflict, InvalidParameter, NotFound, NotModified, SystemFailure


class NameTaken(Conflict):
    """Another container has the name."""

    def __init__(self, name: str, holder: str) -> None:
        self.name, self.holder = name, holder
        super().__init__(
            f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )


class InvalidName(InvalidParameter):
    """A name that no container can have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


class NoCommand(InvalidParameter):
    """Neither the request nor the image says what to run."""

    def __init__(self) -> None:
        super().__init__("no command specified")


class InvalidEnvironment(InvalidParameter):
    """An entry without a name; what it has instead may be a secret."""

    def __init__(self, entry: str) -> None:
        super().__init__(f"invalid environment variable: {entry}")

    @property
    @override
    def recorded(self) -> str:
        """Without the entry."""
        return "invalid environment variable"


class NotRunning(Conflict):
    """It needs a process and has none."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is not running")


class CannotKill(Conflict):
    """A signal for a container without a process."""

    def __init__(self, name: str, container_id: str) -> None:
        super().__init__(f"cannot kill container: {name}: container {container_id} is not running")


class InvalidSignal(InvalidParameter):
    """No such signal."""

    def __init__(self, signal: str) -> None:
        super().__init__(f"invalid signal: {signal}")


class AlreadyPaused(Conflict):
    """Nothing left to freeze."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is already paused")


class NotPaused(SystemFailure):
    """Nothing to thaw (dockerd answers 500 here)."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"Container {container_id} is not paused")


class AlreadyStarted(NotModified):
    """It runs."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"Container {container_id} is already running")


class AlreadyStopped(NotModified):
    """It doesn't run."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"Container {container_id} is already stopped")


class NothingToRestart(NotModified):
    """It was started, stopped or removed before the restart policy's time came."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} does not wait for a restart")


class IsRestarting(Conflict):
    """It has no process while it waits for its restart policy."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Container {name} is restarting, wait until the container is running")


class StartOfPaused(Conflict):
    """A paused container is thawed, not started."""

    def __init__(self) -> None:
        super().__init__("cannot start a paused container, try unpause instead")


class BeingRemoved(Conflict):
    """Too late for anything else."""

    def __init__(self, name: str) -> None:
        super().__init__(f"container {name} is marked for removal and can not be used any more")


class RemovalInProgress(Conflict):
    """Somebody else removes it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"removal of container {name} is already in progress")


class StillRunning(Conflict):
    """It has a process, and the request doesn't say force."""

    def __init__(self, name: str, status: str) -> None:
        advice = "stop the container before removing or force remove"
        if status == "paused":
            advice = "unpause and stop the container before removing or force remove"
        super().__init__(f'cannot remove container "{name}": container is {status}: {advice}')


class Unkillable(SystemFailure):
    """The kernel doesn't end it."""

    def __init__(self, container_id: str, waited_s: float) -> None:
        super().__init__(
            f"container {container_id} did not end within {waited_s:g} s of SIGKILL; "
            "one of its processes may hang in the kernel (state D in ps)"
        )


class CommitOfDead(Conflict):
    """Part of it is gone."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"You cannot commit container {container_id} which is Dead")


class NoSuchFile(NotFound):
    """A path that isn't there in it."""

    def __init__(self, path: str, container: str) -> None:
        super().__init__(f"Could not find the file {path} in container {container}")


class VolumeAway(Conflict):
    """What a volume has is on a device, which is mounted for containers that run."""

    def __init__(self, volume: str, container: str) -> None:
        super().__init__(f"volume {volume} of container {container} is not mounted: start the container first")


class LinkedNotRunning(SystemFailure):
    """A link to it says nothing while it has no address (dockerd answers 500 here)."""

    def __init__(self, name: str, full_alias: str) -> None:
        super().__init__(f"Cannot link to a non running container: /{name} AS {full_alias}")


class NotConnected(Conflict):
    """It shares another's network, which isn't there."""

    def __init__(self, other: str, status: str) -> None:
        super().__init__(f"cannot join network namespace of a non running container: container {other} is {status}")
