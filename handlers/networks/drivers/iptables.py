"""Opens dockerd's closed forwarding for one bridge; where FORWARD drops, a table of our own can't let anything through.

Rules go only into DOCKER-USER, the chain that dockerd keeps for others and never flushes, by iptables (a native nft
rule in it would make iptables refuse the chain), and carry a comment that tells whose they are.
Source: https://docs.docker.com/engine/network/packet-filtering-firewalls/.
"""

import logging
import shutil

import anyio

from events.errors import SystemFailure

_CHAIN = "DOCKER-USER"
_LIMIT_S = 10.0
_log = logging.getLogger(__name__)


class ForwardRules:
    """The accepts of one instance. Raises SystemFailure."""

    def __init__(self, comment: str) -> None:
        self._comment = comment
        self._program = shutil.which("iptables")

    async def ensure(self, bridge: str) -> None:
        """Accept what goes to and from a bridge, where forwarding is closed; otherwise do nothing."""
        if self._program is None or "-P FORWARD DROP" not in await self._iptables("-S", "FORWARD"):
            return
        if not await self._chain_exists():
            _log.warning(
                "the iptables policy of FORWARD is DROP and there is no chain %s: containers on %s reach nothing "
                "beyond this host, and nothing beyond it reaches them, until forwarding is allowed for that bridge",
                _CHAIN,
                bridge,
            )
            return
        for rule in self._rules(bridge):
            if not await self._succeeds("-C", _CHAIN, *rule):
                await self._iptables("-I", _CHAIN, *rule)

    def _rules(self, bridge: str) -> tuple[tuple[str, ...], ...]:
        tag = ("-m", "comment", "--comment", self._comment, "-j", "ACCEPT")
        answered = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT")
        return (("-i", bridge, *tag), ("-o", bridge, *answered, *tag))

    async def _chain_exists(self) -> bool:
        return await self._succeeds("-S", _CHAIN)

    async def _iptables(self, *arguments: str) -> str:
        status, output, errors = await self._run(*arguments)
        if status != 0:
            raise SystemFailure(f"iptables {' '.join(arguments)}: {errors.strip()}")
        return output

    async def _succeeds(self, *arguments: str) -> bool:
        status, _, _ = await self._run(*arguments)
        return status == 0

    async def _run(self, *arguments: str) -> tuple[int, str, str]:
        command = (str(self._program), "--wait", str(int(_LIMIT_S / 2)), *arguments)
        try:
            with anyio.fail_after(_LIMIT_S):
                done = await anyio.run_process(command, check=False)
        except TimeoutError as error:
            raise SystemFailure(f"iptables didn't answer within {_LIMIT_S:.0f} s") from error
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
