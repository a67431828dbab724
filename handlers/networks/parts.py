"""What the network handler's verbs share: its drivers, and how several steps on the host run at once."""

from collections.abc import Awaitable, Callable

import anyio
import msgspec

from handlers.instance import Instance
from handlers.networks.ports import NameFiles, Namespaces, NetworkDriver, PortPublisher
from handlers.networks.settings import NetworkSettings

Step = Callable[[], Awaitable[object]]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Drivers and settings; made once by the daemon's composition."""

    settings: NetworkSettings
    instance: Instance
    driver: NetworkDriver
    publisher: PortPublisher
    namespaces: Namespaces
    name_files: NameFiles


async def together(*steps: Step) -> None:
    """Run independent steps at once and let all of them end; then raise the first failure, if any.

    None is cut off by another's failure, so that whoever undoes them finds nothing half begun.
    """
    failures: list[Exception] = []

    async def run(step: Step) -> None:
        try:
            await step()
        except Exception as error:  # noqa: BLE001  # raised below
            failures.append(error)

    async with anyio.create_task_group() as group:
        for step in steps:
            group.start_soon(run, step)
    if failures:
        raise failures[0]
