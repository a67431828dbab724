"""Mounting what a volume's options name: a device, another directory, a file system on the network."""

from threading import Event

import anyio
import anyio.to_thread

from events.errors import DeadlineExceeded, SystemFailure
from handlers.kernel.calls import KernelRefused, reason
from handlers.kernel.mounts import MountFlag, mount, unmount
from handlers.volumes.drivers.mount_options import MountPlan

TIMEOUT_S = 60.0  # a server that doesn't answer keeps mount(2) for minutes
STACKED_MOUNTS = 16


async def mount_device(plan: MountPlan, target: str) -> None:
    """Mount; nothing stays mounted when this fails. Raises SystemFailure, DeadlineExceeded."""
    given_up = Event()
    try:
        with anyio.move_on_after(TIMEOUT_S) as scope:
            data = plan.data
            if plan.address:
                data = ",".join(filter(None, (data, f"addr={await resolve(plan.address)}")))
            await anyio.to_thread.run_sync(_mount, plan, data, target, given_up, abandon_on_cancel=True)
    finally:
        given_up.set()
    if scope.cancelled_caught:
        raise DeadlineExceeded(f"failed to mount local volume: mount {plan.device}: no answer in {TIMEOUT_S:.0f} s")


async def unmount_device(target: str) -> None:
    """Take down all that is mounted there. Raises SystemFailure, DeadlineExceeded."""
    with anyio.move_on_after(TIMEOUT_S) as scope:
        await anyio.to_thread.run_sync(_unmount, target, abandon_on_cancel=True)
    if scope.cancelled_caught:
        raise DeadlineExceeded(f"unmount {target}: no answer in {TIMEOUT_S:.0f} s")


async def resolve(host: str) -> str:
    """The address that a network file system in the kernel needs instead of a name. Raises SystemFailure."""
    try:
        found = await anyio.getaddrinfo(host, None)
    except OSError as error:
        raise SystemFailure(
            f"failed to mount local volume: error resolving passed in network volume address: {error.strerror}"
        ) from error
    return str(found[0][4][0])


def _mount(plan: MountPlan, data: str, target: str, given_up: Event) -> None:
    """What comes when it was given up is undone: the volume may be about to be removed, and all that is in it."""
    try:
        mount(plan.device, target, filesystem=plan.kind, flags=MountFlag(plan.flags), options=data)
    except KernelRefused as refusal:
        # Without `data` and without the cause: it may hold a password.
        why = reason(refusal.errno)
        raise SystemFailure(f"failed to mount local volume: mount {plan.device}:{target}: {why}") from None
    try:
        for flags in filter(None, (plan.remount_flags, plan.propagation)):
            mount("", target, flags=MountFlag(flags))
    except SystemFailure:
        unmount(target)
        raise
    if given_up.is_set():
        unmount(target)


def _unmount(target: str) -> None:
    for _ in range(STACKED_MOUNTS):
        if not unmount(target):
            return
