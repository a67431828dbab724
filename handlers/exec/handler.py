"""The exec handler: which command about processes goes where."""

from typing import Any

import anyio.abc

from events.base import Command
from events.messages import exec as m
from handlers.context import Context, Handle
from handlers.exec.execs import Execs
from handlers.exec.host_facts import HostFacts
from handlers.exec.ports import Runtime
from handlers.exec.processes import Processes
from handlers.exec.reconciling import Reconciling
from handlers.exec.specification import Settings
from handlers.exec.watching import Watching


class ExecHandler:
    """First processes of containers, and processes run in them later. Every live one is watched in `tasks`."""

    def __init__(self, runtime: Runtime, facts: HostFacts, settings: Settings, tasks: anyio.abc.TaskGroup) -> None:
        watching = Watching(runtime, tasks)
        self._processes = Processes(runtime, facts, settings, watching)
        self._execs = Execs(runtime, facts, settings, watching)
        self._reconciling = Reconciling(runtime, watching)

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """See `Handler.commands`."""
        return {
            m.CheckProcess: self._processes.check,
            m.PrepareProcess: self._processes.prepare,
            m.CreateProcess: self._processes.create,
            m.StartProcess: self._processes.start,
            m.UpdateProcess: self._processes.update,
            m.FindProcess: self._processes.find,
            m.SignalProcess: self._processes.signal,
            m.FreezeProcess: self._processes.freeze,
            m.ResizeProcess: self._processes.resize,
            m.DeleteProcess: self._processes.delete,
            m.RemoveProcessFiles: self._processes.remove_files,
            m.CreateExec: self._execs.create,
            m.StartExec: self._execs.start,
            m.ResizeExec: self._execs.resize,
        }

    async def reconcile(self, context: Context) -> None:
        """See `Handler.reconcile`."""
        await self._reconciling.run(context.services)
