"""What a runtime is asked about itself; whoever comes meanwhile waits for the same answer."""

from pathlib import Path

import anyio

from handlers.exec.drivers.layout import Layout
from handlers.exec.drivers.oci_runtime import OciRuntime
from handlers.instance import Instance

SCRIPT = """#!/bin/sh
echo "$1" >> {asked}
echo runc version 1.1
"""


async def test_a_runtime_is_asked_once_however_many_containers_want_to_know(tmp_path: Path) -> None:
    program, asked = tmp_path / "runtime", tmp_path / "asked"
    program.write_text(SCRIPT.format(asked=asked))
    program.chmod(0o755)
    layout = Layout(Instance(name="x", data_root=Path("/d"), exec_root=Path("/e")))
    runtime, answers = OciRuntime(layout, systemd_cgroup=False), []

    async def ask() -> None:
        answers.append(await runtime.is_runc(str(program)))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    assert answers == [True] * 50
    assert asked.read_text().split() == ["--version"]
