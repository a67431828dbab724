"""ConnectSandbox: a container's namespace, endpoints, ports and name files, all or nothing."""

import logging
from collections.abc import Callable
from functools import partial

import anyio
import msgspec

from events.errors import DeadlineExceeded, EngineError, reason_of
from events.log import Append, ClaimTaken
from events.messages.network import (
    ConnectSandbox,
    Endpoint,
    PublishedPort,
    Sandbox,
    SandboxConnected,
    SandboxConnectFailed,
    SandboxRequested,
)
from handlers.context import Context
from handlers.networks.decide import HOST, Circumstances, Plan, namespace_owner, plan_sandbox, port_claim, shared_with
from handlers.networks.errors import ConnectivityFailed, PortInUse, TakenDown
from handlers.networks.links import addresses
from handlers.networks.names import HostNames, NameFileTexts, texts
from handlers.networks.parts import Parts
from handlers.networks.port_choice import is_flexible
from handlers.networks.predefined import PredefinedNetworks
from handlers.networks.take_down import UNDO_LIMIT_S, take_down
from handlers.together import Step, together

Texts = Callable[[], NameFileTexts]

_ATTEMPTS = 64
_ACT_LIMIT_S = 60.0
_log = logging.getLogger(__name__)


class Connect:
    """The verb; remembers where the last choice stopped, so that an address isn't given again at once."""

    def __init__(self, parts: Parts, networks: PredefinedNetworks) -> None:
        self._parts, self._networks = parts, networks
        self._choosing = anyio.Lock()  # a wildcard and an address of the same port are two claims: choose one by one
        self._last = Circumstances()

    async def __call__(self, context: Context, command: ConnectSandbox) -> Sandbox:
        """Raises the errors of handlers/networks/errors.py; then nothing of the sandbox is left."""
        host = await self._parts.name_files.host()
        refused: tuple[PublishedPort, ...] = ()
        while True:
            plan, files = await self._request(context, command, host, refused)
            try:
                return await self._make(context, command, plan, files)
            except PortInUse as error:
                refused = (*refused, error.port)
                if len(refused) == _ATTEMPTS or not is_flexible(command.ports, error.port):
                    endpoint_id = plan.endpoints[0].endpoint_id
                    raise ConnectivityFailed(command.container_name, endpoint_id, error) from error

    async def _request(
        self, context: Context, command: ConnectSandbox, host: HostNames, refused: tuple[PublishedPort, ...]
    ) -> tuple[Plan, Texts]:
        """Decide, and make the intent durable. What another stream turns out to hold is avoided."""
        ipv6 = await self._parts.publisher.carries_ipv6() if command.ports else False
        taken: frozenset[str] = frozenset()
        async with self._choosing:
            while True:
                now = msgspec.structs.replace(self._last, ipv6=ipv6, taken_claims=taken, taken_ports=refused)
                plan = plan_sandbox(command, context.state, now, context.ids.new)
                gateway = self._networks.gateway(context)
                files = partial(self._texts, context, command, plan, host, gateway)
                files()  # what can't be written is refused before anything is made
                try:
                    await self._append_request(context, command, plan)
                except ClaimTaken as error:
                    if error.key in taken:
                        raise
                    taken |= {error.key}
                    refused += tuple(port for port in plan.ports if port_claim(port) == error.key)
                    continue
                self._remember(plan, command)
                return plan, files

    def _texts(
        self, context: Context, command: ConnectSandbox, plan: Plan, host: HostNames, gateway: str
    ) -> NameFileTexts:
        found = addresses(context.state.sandboxes, command.links)
        return texts(command, plan.endpoints, host, self._parts.settings, gateway, found)

    async def _append_request(self, context: Context, command: ConnectSandbox, plan: Plan) -> None:
        event = SandboxRequested(
            container_id=command.container_id, mode=command.mode, endpoints=plan.endpoints, ports=plan.ports
        )
        await context.append(_stream(command), event, take=plan.claims)

    def _remember(self, plan: Plan, command: ConnectSandbox) -> None:
        addresses = {e.network_id: e.address for e in plan.endpoints if e.address}
        ephemeral = {request.container_port for request in command.ports if request.host_port == 0}
        ports = [port.host_port for port in plan.ports if port.container_port in ephemeral]
        self._last = Circumstances(
            address_after=self._last.address_after | addresses, port_after=max(ports, default=self._last.port_after)
        )

    async def _make(self, context: Context, command: ConnectSandbox, plan: Plan, files: Texts) -> Sandbox:
        try:
            await self._act(context, command, plan, files)
            sandbox = self._sandbox(context, command, plan)
            await context.decide(partial(_conclude, context, command, plan), answer=sandbox)
        except BaseException as error:
            await self._undo(context, command, plan, error)
            raise
        return sandbox

    async def _act(self, context: Context, command: ConnectSandbox, plan: Plan, files: Texts) -> None:
        try:
            with anyio.fail_after(_ACT_LIMIT_S):
                await together(*self._steps(context, command, plan, files))
        except TimeoutError as error:
            raise DeadlineExceeded(f"network of container {command.container_id} took too long") from error

    def _steps(self, context: Context, command: ConnectSandbox, plan: Plan, files: Texts) -> list[Step]:
        if shared_with(command.mode):
            return []
        # written anew: an address that changes from here on is told by UpdateLinks, which waits for its turn
        steps: list[Step] = [partial(self._parts.name_files.write, command.container_id, files())]
        if command.mode != HOST:
            steps.append(partial(self._connect_endpoints, context, command.container_id, plan.endpoints))
        if plan.ports:
            address = plan.endpoints[0].address
            steps.append(partial(self._parts.publisher.publish, command.container_id, address, plan.ports))
        return steps

    async def _connect_endpoints(self, context: Context, container_id: str, endpoints: tuple[Endpoint, ...]) -> None:
        path = await self._parts.namespaces.create(container_id)
        for endpoint in endpoints:
            if endpoint.address:
                await self._networks.require(context, endpoint.network_id)
                await self._parts.driver.connect(container_id, path, endpoint)

    def _sandbox(self, context: Context, command: ConnectSandbox, plan: Plan) -> Sandbox:
        mode, owner = command.mode, command.container_id
        if shared_with(mode):
            sharer = namespace_owner(context.state.sandboxes, mode)
            mode, owner = sharer.mode, sharer.container_id
        paths = self._parts.name_files.paths(owner)
        return Sandbox(
            namespace_path="" if mode == HOST else self._parts.namespaces.path(owner),
            endpoints=plan.endpoints,
            ports=plan.ports,
            hosts_path=paths.hosts,
            hostname_path=paths.hostname,
            resolv_conf_path=paths.resolv_conf,
        )

    async def _undo(self, context: Context, command: ConnectSandbox, plan: Plan, cause: BaseException) -> None:
        """Take down what was made; if that fails, the intent stays open and recovery tries again."""
        container_id = command.container_id
        with anyio.move_on_after(UNDO_LIMIT_S, shield=True):
            try:
                await take_down(self._parts, container_id, plan.endpoints, plan.ports)
                failed = SandboxConnectFailed(container_id=container_id, error=reason_of(cause))
                await context.append(_stream(command), failed, release=plan.claims)
            except EngineError as error:
                _log.error("sandbox %s is left half made: %s", container_id, error)  # cause follows


def _conclude(context: Context, command: ConnectSandbox, plan: Plan) -> Append:
    """Raises TakenDown when the sandbox isn't the one any more that was made."""
    now = context.state.sandboxes.get(command.container_id)
    if now is None or (now.endpoints, now.ports) != (plan.endpoints, plan.ports):
        raise TakenDown(command.container_id)
    event = SandboxConnected(container_id=command.container_id)
    return Append(stream=_stream(command), events=(event,), expected=now.version)


def _stream(command: ConnectSandbox) -> str:
    return f"sandbox/{command.container_id}"
