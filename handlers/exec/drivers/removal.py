"""Taking down a run, whatever state a killed daemon left it in; what is absent is fine."""

import logging
import signal
from pathlib import Path

import anyio.to_thread

from events.errors import SystemFailure
from handlers.exec.drivers import monitor, record
from handlers.exec.drivers.execs import Execs
from handlers.exec.drivers.layout import Layout, remove_tree
from handlers.exec.drivers.oci_runtime import OciRuntime
from handlers.exec.drivers.waits import Waits
from handlers.kernel import cgroups
from handlers.kernel.mounts import unmount

LOGGER = logging.getLogger(__name__)
_SEARCHES = 50


class Removal:
    """Removes runs of an instance."""

    def __init__(
        self, layout: Layout, conmon: str, runtime: OciRuntime, execs: Execs, waits: Waits, *, systemd_cgroup: bool
    ) -> None:
        self._layout, self._conmon, self._runtime, self._execs, self._waits = layout, conmon, runtime, execs, waits
        self._systemd_cgroup = systemd_cgroup

    async def remove(self, container_id: str) -> None:
        """Kill what is left of a run and remove everything of it in exec-root. Raises SystemFailure."""
        directory = self._layout.run(container_id)
        found = record.read(directory)
        if found is not None:
            await self._end(found, directory)
            await self._waits.settle(container_id)
            await self._forget(found)
        await anyio.to_thread.run_sync(self._clear, container_id)

    def _clear(self, container_id: str) -> None:
        """Remove its directories; the one with the record last. Also runtime state without a record. Blocking."""
        for runtime_root in self._layout.runtime_roots():
            remove_tree(runtime_root / container_id)
        unmount(str(self._layout.shared_memory(container_id)))
        remove_tree(self._layout.run(container_id))
        remove_tree(self._layout.staging(container_id))

    async def _end(self, found: record.Record, directory: Path) -> None:
        """Kill the processes, then see conmon off: it writes the exit status first."""
        if not found.pid_started:
            await self._stop_making(found, directory)
        process = found.process()
        if process is not None:
            with process:
                process.send(signal.SIGKILL)
        await self._group(found).kill()
        handle = found.monitor()
        if handle is not None:
            await monitor.see_off(handle)
        await self._execs.end_all(found.container_id)

    async def _stop_making(self, found: record.Record, directory: Path) -> None:
        """Nobody knows the pids of a half-made process, but its helpers have the directory on their command line."""
        programs = frozenset({self._conmon, found.runtime})
        in_vain = 0
        for _ in range(_SEARCHES):
            handles = await anyio.to_thread.run_sync(lambda: list(record.helpers(directory, programs)))
            in_vain = 0 if handles else in_vain + 1
            if in_vain > 1:  # one that forks and ends at once, as conmon does, may hide from a single look
                return
            for handle in handles:
                await monitor.see_off(handle, at_once=True)
        raise SystemFailure(f"container {found.container_id} is being made by somebody else")

    async def _forget(self, found: record.Record) -> None:
        """The runtime's state and the cgroup. For runc without systemd both are directories, and 5 ms are saved.

        The state's directory goes later, with the others.
        """
        state = self._runtime.state_directory(found.runtime, found.container_id)
        if state.is_dir():
            try:
                if self._systemd_cgroup or not await self._runtime.is_runc(found.runtime):
                    await self._runtime.delete(found.runtime, found.container_id)
            except SystemFailure:
                LOGGER.exception("%s is broken: what it keeps of %s is removed", found.runtime, found.container_id)
        await self._group(found).remove()

    def _group(self, found: record.Record) -> cgroups.Group:
        """Known from the live process; for a half-made one where it was to be."""
        if found.cgroup is not None:
            return found.cgroup
        if found.cgroups_path.startswith("/"):
            return cgroups.at(found.cgroups_path, cgroups.known_hierarchies())
        return cgroups.Group(directories={})
