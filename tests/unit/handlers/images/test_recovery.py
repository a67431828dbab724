"""Recovery of images beside an API that serves already: what a client has begun meanwhile is left alone."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from typing_extensions import override

from events.messages import image as m
from handlers.images import recovery
from handlers.images.content import ContentStore
from handlers.turns import Turns
from tests.fakes.graph_driver import PausingDriver
from tests.fakes.image_archives import sample
from tests.unit.handlers.images.conftest import Host

LIMIT_S = 10.0


class LateStore(ContentStore):
    """Something happens just before it lists its files."""

    def __init__(self, directory: Path, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__(directory)
        self._meanwhile = meanwhile

    @override
    async def list(self) -> frozenset[str]:
        await self._meanwhile()
        return await super().list()


class TellingStore(ContentStore):
    """Tells when it has listed its files."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.listed = anyio.Event()

    @override
    async def list(self) -> frozenset[str]:
        names = await super().list()
        self.listed.set()
        return names


async def test_a_load_that_began_again_is_not_settled_away(tmp_path):
    driver = PausingDriver(tmp_path)
    host = Host(tmp_path, driver)
    image = sample("base", names=["x:1"])
    await host.engine.append(f"image/{image.id}", m.ImageCreateRequested(image_id=image.id, origin="load"))
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.load, image)
            await driver.reached.wait()
            tasks.start_soon(host.engine.reconcile)
            await anyio.wait_all_tasks_blocked()
            driver.go_on.set()
    assert [made.status for made in host.images] == ["ready"]
    assert await host.kept() == (1, 1, 1)


async def test_an_image_that_came_while_files_were_listed_keeps_its_configuration(host):
    image = sample("base", names=["x:1"])
    store = LateStore(host.directory / "content", lambda: host.load(image))
    await recovery.reconcile(host.engine.context(), store, Turns(LIMIT_S))
    assert await host.kept() == (1, 1, 1)


async def test_a_file_that_is_being_written_gets_its_name(host):
    content, turns = TellingStore(host.directory / "content"), Turns(LIMIT_S)
    host.content.mkdir(parents=True)
    unfinished = host.content / "00ff.new"
    unfinished.touch()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            async with turns.of("sha256:00ff"):
                tasks.start_soon(recovery.reconcile, host.engine.context(), content, turns)
                await content.listed.wait()
                await anyio.wait_all_tasks_blocked()
                unfinished.rename(host.content / "00ff")
    assert [path.name for path in host.content.iterdir()] == ["00ff"]
    assert await host.engine.names() == []
