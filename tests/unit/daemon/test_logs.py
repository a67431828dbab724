"""Logs that are kept: one container's trouble is no other's, and never the engine's."""

from typing import cast

import anyio
import pytest

from daemon.logs import LogKeeping
from events.messages import container as c
from handlers.context import RandomIds, Sender, Services
from handlers.exec.log_options import LogPlan, Subject
from tests.unit.daemon.story import Story


class Keeper:
    """Tells whose log is kept."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    async def keep_log(self, container_id: str, plan: LogPlan, subject: Subject) -> None:
        self.kept.append(container_id)


async def _ran(story: Story, container_id: str) -> None:
    log = c.LogConfig(type="json-file", config={"max-size": ""})
    secrets = c.ContainerSecrets(cmd=("true",), log_options={"max-size": "1m"})
    await story.container(container_id, container_id, host=c.HostConfig(log_config=log), secrets=secrets)
    await story.start(container_id)


async def test_a_container_whose_key_is_lost_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    story, keeper = Story(), Keeper()
    for name in ("lost", "kept"):
        await _ran(story, name)
    await story.keyring.destroy("container/lost")
    services = Services(
        log=story.log,
        state=story.state,
        clock=story.clock,
        ids=RandomIds(),
        keyring=story.keyring,
        sender=cast("Sender", None),
        watcher=story.watcher,
    )
    async with anyio.create_task_group() as tasks:
        LogKeeping(services, keeper, tasks).begin()
    assert keeper.kept == ["kept"]
    assert "the log of container lost is not kept any more" in caplog.text
