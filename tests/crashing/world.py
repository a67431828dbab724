"""An engine that may die under a request, and the questions about it that checks of a crash need."""

import http.client
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from handlers.kernel import cgroups
from tests.clients.raw import Answer, RawClient
from tests.crashing.points import DIRECTORY_VARIABLE, Control
from tests.engines import EngineUnderTest, busybox_archive
from tests.registries import Registry

IMAGE = "busybox:latest"
BYSTANDER = "bystander"
GONE = 404
LOST = Answer(status=0, headers={}, body=b"")  # the daemon died before it answered


class Died(Exception):
    """The daemon died before it answered a question."""


class World:
    """One engine, with an image and a container that runs through everything."""

    def __init__(self) -> None:
        self.engine = EngineUnderTest()
        self.control = Control(self.engine.directory / "crash")
        self.archive = busybox_archive()
        self.key = ""  # of the requests that are repeated
        self._registry: Registry | None = None
        self._registry_directory = Path(tempfile.mkdtemp(prefix="registry"))  # what names the engine's is the engine's

    def boot(self) -> None:
        """Start the daemon."""
        environment = {DIRECTORY_VARIABLE: str(self.engine.directory / "crash")}
        self.engine.start(module="tests.crashing", environment=environment)

    def furnish(self) -> None:
        """What is there before and after every operation."""
        self.engine.load_busybox()
        self.container(BYSTANDER, "sleep", "100000")
        self.ask("POST", f"/containers/{BYSTANDER}/start")

    @property
    def registry(self) -> Registry:
        """In the engine's namespace; started when it is first asked for."""
        if self._registry is None:
            self._registry = Registry(self.engine, self._registry_directory)
        return self._registry

    def close(self) -> None:
        """Nothing is left."""
        if self._registry is not None:
            self._registry.close()
        shutil.rmtree(self._registry_directory)
        self.engine.close()

    @property
    def is_dead(self) -> bool:
        """Whether the daemon has ended."""
        return self.engine.process is None or self.engine.process.poll() is not None

    # ---- asking

    def ask(self, method: str, path: str, body: object = None, **query: Any) -> Answer:
        """A request that must be answered with success. Raises Died."""
        answer = self.attempt(method, path, body, **query)
        if not answer.status:
            raise Died
        if not 200 <= answer.status < 400:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body!r}\n{self.engine.log()[-3000:]}")
        return answer

    def attempt(self, method: str, path: str, body: object = None, /, *, key: str = "", **query: Any) -> Answer:
        """A request whose daemon may die: then LOST."""
        target = f"/v1.51{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"idempotency_key": f"{key}-{path.rsplit('/', 1)[-1]}"} if key else {}
        if isinstance(body, bytes):
            headers["content_type"] = "application/x-tar"
        try:
            with RawClient(self.engine.socket, 60) as client:
                return client.ask(method, target, body, **headers)
        except (OSError, http.client.HTTPException):
            if not self.is_dead:
                self.engine.process.wait(10)  # type: ignore[union-attr]  # it is being killed
            return LOST

    def again(self, method: str, path: str, body: object = None, **query: Any) -> Answer:
        """A request that goes by the present key, so that it can be repeated."""
        return self.attempt(method, path, body, key=self.key, **query)

    def new_key(self) -> None:
        """The next requests are others."""
        self.key = secrets.token_hex(8)

    # ---- looking

    def inspect(self, name: str) -> dict[str, Any] | None:
        """A container; None when there is none. Raises Died."""
        answer = self.attempt("GET", f"/containers/{name}/json")
        if not answer.status:
            raise Died
        if answer.status not in (200, GONE):
            raise AssertionError(f"inspect {name}: {answer.status} {answer.body!r}")
        return answer.json if answer.status == 200 else None

    def status(self, name: str) -> str:
        """A container's; "gone" when there is none."""
        found = self.inspect(name)
        return found["State"]["Status"] if found else "gone"

    def is_frozen(self, name: str) -> bool:
        """Whether the kernel has frozen a running container."""
        found = self.inspect(name)
        pid = found["State"]["Pid"] if found else 0
        return bool(pid) and cgroups.of_process(pid, cgroups.hierarchies()).is_frozen()

    def images(self) -> dict[str, tuple[str, ...]]:
        """Names by image id, also of images without a name."""
        listed = self.ask("GET", "/images/json", all="1").json
        return {image["Id"]: tuple(sorted(image["RepoTags"] or ())) for image in listed}

    def volumes(self) -> frozenset[str]:
        """Names of volumes."""
        return frozenset(volume["Name"] for volume in self.ask("GET", "/volumes").json["Volumes"] or ())

    def names(self) -> frozenset[str]:
        """Names of containers."""
        listed = self.ask("GET", "/containers/json", all="1").json
        return frozenset(name.lstrip("/") for container in listed for name in container["Names"])

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
        """Poll."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s: {what}\n{self.engine.log()[-3000:]}")
            time.sleep(0.01)

    # ---- making and removing

    def container(self, name: str, *command: str, repeatable: bool = False, **settings: Any) -> Answer:
        """Create a container without network, unless the settings say otherwise."""
        host = {"NetworkMode": "none"} | settings.pop("HostConfig", {})
        body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": host} | settings
        ask = self.again if repeatable else self.ask
        return ask("POST", "/containers/create", body, name=name)

    def clear(self) -> None:
        """Remove all that operations have made."""
        for name in self.names() - {BYSTANDER}:
            self.attempt("DELETE", f"/containers/{name}", force="1", v="1")
        for name in self.volumes():
            self.ask("DELETE", f"/volumes/{name}")
        for image, names in self.images().items():
            for name in set(names) - {IMAGE}:
                self.ask("DELETE", f"/images/{quote(name)}")
            if not names:
                self.attempt("DELETE", f"/images/{quote(image)}")  # newest first: it may have gone with its child
        if IMAGE not in {name for names in self.images().values() for name in names}:
            self.engine.load_busybox()

    def log_directory(self) -> Path:
        """Where the log is."""
        return self.engine.data_root / "log"
