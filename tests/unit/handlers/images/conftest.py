"""An engine with images and layers, the layers in memory."""

from pathlib import Path

import pytest

from events.messages import container as c
from events.messages import image as m
from events.opened import open_image
from events.projections.images import Image
from events.sealed import Sealed
from handlers.images.handler import ImageHandler
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.handler import LayerHandler
from tests.fakes.graph_driver import FakeGraphDriver
from tests.fakes.image_archives import SampleImage, docker_archive, write
from tests.fakes.sender import Engine


class Host:
    """The engine, and shorthands for what tests ask of it."""

    def __init__(self, directory: Path, driver: FakeGraphDriver | None = None) -> None:
        self.directory = directory
        self.content = directory / "content" / "sha256"
        self.scratch = directory / "scratch"
        self.driver = driver or FakeGraphDriver(directory)
        layers = LayerHandler(self.driver, HelperFiles(self.driver, directory))
        self.engine = Engine(ImageHandler(directory / "content", self.scratch), layers)
        self.images = self.engine.state.images

    async def load_bytes(self, content: bytes) -> tuple[str, ...]:
        """Load an archive and return its lines."""
        loaded: m.LoadedImages = await self.engine.send(m.LoadImages(path=write(self.directory, content)))
        return loaded.lines

    async def load(self, *images: SampleImage) -> tuple[str, ...]:
        """Load images from a docker-archive."""
        return await self.load_bytes(docker_archive(*images))

    async def remove(self, name: str, *, force: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Remove an image and return what was untagged and deleted."""
        removed: m.RemovedImage = await self.engine.send(m.RemoveImage(name=name, force=force))
        return removed.untagged, removed.deleted

    async def container(self, container_id: str, image_id: str, *, running: bool) -> None:
        """A container that uses an image, as its handler tells of it."""
        requested = c.ContainerCreateRequested(
            container_id=container_id,
            name=container_id[:6],
            image_id=image_id,
            image_reference="x",
            config=c.ContainerConfig(image="x"),
            host=c.HostConfig(),
            secrets=Sealed(owner="", nonce=b"", ciphertext=b""),
        )
        stream = f"container/{container_id}"
        await self.engine.append(stream, requested)
        await self.engine.send(m.AcquireImage(image_id=image_id, container_id=container_id))
        await self.engine.append(stream, c.ContainerCreated(container_id=container_id))
        if running:
            started = c.ContainerStarted(container_id=container_id, pid=4242, started_at_ns=1)
            await self.engine.append(stream, started)

    def opened(self, image_id: str) -> Image:
        """An image with its whole configuration."""
        image = self.images.get(image_id)
        assert image is not None
        return open_image(image, self.engine.services.keyring)

    async def kept(self) -> tuple[int, int, int]:
        """How many images, layers on disk and configurations on disk there are."""
        files = len(list(self.content.iterdir())) if self.content.exists() else 0
        return len(self.images), len(await self.driver.list()), files


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)
