"""Changing limits and restart policy: the new configuration is the intent, the running cgroup follows."""

import msgspec

from events.container_lookup import find_container
from events.errors import Conflict, EngineError, reason_of
from events.log import Append
from events.messages import container as m
from events.messages.exec import UpdateProcess
from events.projections.containers import Container
from handlers.containers.access import conclude, current, enter
from handlers.containers.limits import HostLimits
from handlers.containers.validation import check_update
from handlers.context import Context


class CannotUpdate(Conflict):
    """What is asked for doesn't go with what the container has."""

    def __init__(self, container_id: str, why: str) -> None:
        super().__init__(f"Cannot update container {container_id}: {why}")


async def update(context: Context, command: m.UpdateContainer, limits: HostLimits) -> m.UpdatedContainer:
    """Answer UpdateContainer."""
    found = find_container(context.state.containers, command.container)
    check_update(command.changes, limits)

    def decision(c: Container) -> Append:
        if c.status == "dead":
            raise CannotUpdate(c.id, 'container is marked for removal and cannot be "update"')
        event = m.ContainerUpdateRequested(container_id=c.id, host=changed(c, command.changes))
        return Append(stream=f"container/{c.id}", events=(event,), expected=c.version)

    await enter(context, found.id, "update", decision)
    return await carry_out(context, found.id)


async def carry_out(context: Context, container_id: str) -> m.UpdatedContainer:
    """What an intent demands, also when recovery finishes it: setting the same limits again does no harm."""
    host = current(context, container_id).updated_host
    try:
        applied = await context.send(UpdateProcess(container_id=container_id, host=host))
    except BaseException as error:
        failed = m.ContainerUpdateFailed(container_id=container_id, error=reason_of(error))
        await conclude(context, container_id, failed)
        if isinstance(error, EngineError):
            raise type(error)(f"Cannot update container {container_id}: {error}", recorded=error.recorded) from error
        raise
    answer = m.UpdatedContainer(warnings=applied.warnings)
    await conclude(context, container_id, m.ContainerUpdated(container_id=container_id, host=host), answer=answer)
    return answer


def changed(c: Container, changes: m.Changes) -> m.HostConfig:
    """The host configuration after an update: zero and empty mean unchanged. Raises CannotUpdate. Pure."""
    for why in _conflicts(c.host, changes):
        raise CannotUpdate(c.id, why)
    given = {
        name: getattr(changes, name)
        for name in m.Changes.__struct_fields__
        if name != "restart_policy" and getattr(changes, name) not in (0, "", None)
    }
    if changes.pids_limit is not None:
        given["pids_limit"] = changes.pids_limit if changes.pids_limit > 0 else None
    if changes.restart_policy.name:
        given["restart_policy"] = changes.restart_policy
    return msgspec.structs.replace(c.host, **given)


def _conflicts(host: m.HostConfig, changes: m.Changes) -> list[str]:
    """In dockerd's words."""
    found = []
    if changes.nano_cpus > 0 and host.cpu_period > 0:
        found.append("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
    if changes.nano_cpus > 0 and host.cpu_quota > 0:
        found.append("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
    if changes.cpu_period > 0 and host.nano_cpus > 0:
        found.append("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
    if changes.cpu_quota > 0 and host.nano_cpus > 0:
        found.append("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
    if changes.memory > host.memory_swap >= 0 and changes.memory_swap == 0:
        found.append(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if changes.restart_policy.name not in ("", "no") and host.auto_remove:
        found.append("Restart policy cannot be updated because AutoRemove is enabled for the container")
    return found
