"""OpenSandbox and ConnectSandbox: first what a process needs to be made in, then what it needs to be reached.

The second goes on while the runtime makes the process, which takes as long.
"""

import logging
from functools import partial

import anyio

from events.errors import DeadlineExceeded, EngineError, reason_of
from events.log import Append
from events.messages.network import (
    ConnectSandbox,
    OpenSandbox,
    PublishedPort,
    Sandbox,
    SandboxConnected,
    SandboxConnectFailed,
)
from events.projections.networks import SandboxState
from handlers.context import Context
from handlers.networks.choice import Choice
from handlers.networks.decide import HOST, Plan, namespace_owner, sandbox_stream, shared_with
from handlers.networks.errors import ConnectivityFailed, PortInUse, TakenDown
from handlers.networks.links import addresses
from handlers.networks.names import HostNames, NameFileTexts, texts
from handlers.networks.parts import Parts
from handlers.networks.port_choice import is_flexible
from handlers.networks.predefined import PredefinedNetworks
from handlers.networks.take_down import UNDO_LIMIT_S, take_down
from handlers.together import Step, together

_ATTEMPTS = 64
_ACT_LIMIT_S = 60.0
_log = logging.getLogger(__name__)


class Open:
    """The first verb: addresses and ports are chosen, namespace and name files made."""

    def __init__(self, parts: Parts, networks: PredefinedNetworks, choice: Choice) -> None:
        self._parts, self._networks, self._choice = parts, networks, choice

    async def __call__(self, context: Context, command: OpenSandbox) -> Sandbox:
        """Raises the errors of handlers/networks/errors.py; then nothing of the sandbox is left."""
        host = await self._parts.name_files.host()
        self._texts(context, command, Plan(), host)  # what can't be written is refused before anything is made
        plan = await self._choice.sandbox(context, command)
        try:
            await _bounded(command.container_id, *self._steps(context, command, plan, host))
            sandbox = self._sandbox(context, command, plan)
            if sandbox.connected:
                await context.decide(partial(_conclude, context, command.container_id, plan), answer=sandbox)
        except BaseException as error:
            await _undo(self._parts, context, command.container_id, plan, error)
            raise
        return sandbox

    def _steps(self, context: Context, command: OpenSandbox, plan: Plan, host: HostNames) -> list[Step]:
        if shared_with(command.mode):
            return []
        files = self._texts(context, command, plan, host)
        steps: list[Step] = [partial(self._parts.name_files.write, command.container_id, files)]
        if command.mode != HOST:
            steps.append(partial(self._parts.namespaces.create, command.container_id))
        return steps

    def _texts(self, context: Context, command: OpenSandbox, plan: Plan, host: HostNames) -> NameFileTexts:
        """An address that changes from here on is told by UpdateLinks, which waits for its turn."""
        found = addresses(context.state.sandboxes, command.links)
        gateway = self._networks.gateway(context)
        return texts(command, plan.endpoints, host, self._parts.settings, gateway, found)

    def _sandbox(self, context: Context, command: OpenSandbox, plan: Plan) -> Sandbox:
        mode, owner = command.mode, command.container_id
        if shared_with(mode):
            sharer = namespace_owner(context.state.sandboxes, mode)
            mode, owner = sharer.mode, sharer.container_id
        paths = self._parts.name_files.paths(owner)
        return Sandbox(
            namespace_path="" if mode == HOST else self._parts.namespaces.path(owner),
            connected=not plan.ports and not any(endpoint.address for endpoint in plan.endpoints),
            hosts_path=paths.hosts,
            hostname_path=paths.hostname,
            resolv_conf_path=paths.resolv_conf,
        )


class Connect:
    """The second verb: endpoints are plugged in, ports published."""

    def __init__(self, parts: Parts, networks: PredefinedNetworks, choice: Choice) -> None:
        self._parts, self._networks, self._choice = parts, networks, choice

    async def __call__(self, context: Context, command: ConnectSandbox) -> None:
        """Raises the errors of handlers/networks/errors.py; then nothing of the sandbox is left."""
        container_id = command.container_id
        sandbox = context.state.sandboxes.get(container_id)
        if sandbox is None:
            raise TakenDown(container_id)
        made = Plan(endpoints=sandbox.endpoints, ports=sandbox.ports)
        try:
            await _bounded(
                container_id,
                partial(self._plug_in, context, sandbox),
                partial(self._publish, context, command, sandbox),
            )
            made = _present(context, container_id) or made
            await context.decide(partial(_conclude, context, container_id, made), answer=None)
        except BaseException as error:
            await _undo(self._parts, context, container_id, made, error)
            raise

    async def _plug_in(self, context: Context, sandbox: SandboxState) -> None:
        path = self._parts.namespaces.path(sandbox.container_id)
        for endpoint in sandbox.endpoints:
            if endpoint.address:
                await self._networks.require(context, endpoint.network_id)
                await self._parts.driver.connect(sandbox.container_id, path, endpoint)

    async def _publish(self, context: Context, command: ConnectSandbox, sandbox: SandboxState) -> None:
        """Others are chosen in place of ports that something else on the host has, where any of several will do."""
        refused: tuple[PublishedPort, ...] = ()
        while sandbox.ports:
            first = sandbox.endpoints[0]
            try:
                await self._parts.publisher.publish(sandbox.container_id, first.address, sandbox.ports)
            except PortInUse as error:
                refused = (*refused, error.port)
                if len(refused) == _ATTEMPTS or not is_flexible(command.ports, error.port):
                    raise ConnectivityFailed(command.container_name, first.endpoint_id, error) from error
                sandbox = await self._choice.other_ports(context, command, sandbox, refused)
            else:
                return


async def _bounded(container_id: str, *steps: Step) -> None:
    try:
        with anyio.fail_after(_ACT_LIMIT_S):
            await together(*steps)
    except TimeoutError as error:
        raise DeadlineExceeded(f"network of container {container_id} took too long") from error


async def _undo(parts: Parts, context: Context, container_id: str, made: Plan, cause: BaseException) -> None:
    """Take down what was made; if that fails, the intent stays open and recovery tries again."""
    plan = _present(context, container_id) or made
    with anyio.move_on_after(UNDO_LIMIT_S, shield=True):
        try:
            await take_down(parts, container_id, plan.endpoints, plan.ports)
            failed = SandboxConnectFailed(container_id=container_id, error=reason_of(cause))
            await context.append(sandbox_stream(container_id), failed, release=plan.claims)
        except EngineError as error:
            _log.error("sandbox %s is left half made: %s", container_id, error)  # cause follows


def _present(context: Context, container_id: str) -> Plan | None:
    """What the log says that it has; other ports may have been chosen meanwhile."""
    sandbox = context.state.sandboxes.get(container_id)
    return None if sandbox is None else Plan(endpoints=sandbox.endpoints, ports=sandbox.ports)


def _conclude(context: Context, container_id: str, plan: Plan) -> Append:
    """Raises TakenDown when the sandbox isn't the one any more that was made."""
    now = context.state.sandboxes.get(container_id)
    if now is None or (now.endpoints, now.ports) != (plan.endpoints, plan.ports):
        raise TakenDown(container_id)
    event = SandboxConnected(container_id=container_id)
    return Append(stream=sandbox_stream(container_id), events=(event,), expected=now.version)
