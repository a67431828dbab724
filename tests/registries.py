"""Registries for tests: Debian's docker-registry in an engine's network namespace, and images to put there."""

import gzip
import hashlib
import http.client
import http.server
import io
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handlers.kernel.namespaces import inside
from tests.engines import EngineUnderTest, busybox_archive, wait_until
from tests.fakes.image_archives import SampleImage

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
TIMEOUT_S = 30.0


def digest(content: bytes) -> str:
    """`sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def connected(namespace: str, port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection made inside a network namespace."""
    return inside(f"/run/netns/{namespace}", lambda: socket.create_connection((host, port), TIMEOUT_S))


def listening(namespace: str, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket inside a network namespace, on a port that the kernel chooses."""
    return inside(f"/run/netns/{namespace}", lambda: socket.create_server((host, 0)))


class HttpServer:
    """Answers requests inside a network namespace, each in a thread, until it is closed."""

    def __init__(self, namespace: str, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening(namespace)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class Registry:
    """A docker-registry process; `address` is HOST:PORT."""

    def __init__(self, engine: EngineUnderTest, directory: Path, host: str = "127.0.0.1", **configuration: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._namespace, self._host = engine.namespace, host
        with listening(engine.namespace, host) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self.content = directory / "data"
        settings = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.content)}, "delete": {"enabled": True}},
            **configuration,
        }
        settings["http"] = {"addr": self.address, **configuration.get("http", {})}
        (directory / "config.yml").write_text(json.dumps(settings))
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{engine.namespace}",
                    "docker-registry",
                    "serve",
                    directory / "config.yml",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, f"docker-registry answers: {(directory / 'log').read_text()}", TIMEOUT_S)

    def _answers(self) -> bool:
        assert self._process.poll() is None
        try:
            connected(self._namespace, self.port, self._host).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(TIMEOUT_S)

    # ---- what is there

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """A request below /v2/; status, headers in lower case, body."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=TIMEOUT_S)
        connection.sock = connected(self._namespace, self.port, self._host)
        try:
            target = path if path.startswith("/") else f"/v2/{path}"
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, named)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def put_blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Store a blob and describe it."""
        _, headers, _ = self.ask("POST", f"{repository}/blobs/uploads/")
        place = headers["location"].partition(self.address)[2] or headers["location"]
        separator = "&" if "?" in place else "?"
        status, _, said = self.ask(
            "PUT", f"{place}{separator}digest={digest(content)}", content, content_type="application/octet-stream"
        )
        assert status == 201, said
        return {"digest": digest(content), "size": len(content)}

    def put_manifest(self, repository: str, reference: str, document: Mapping[str, Any]) -> str:
        """Store a manifest or an index and return its digest."""
        content = json.dumps(document).encode()
        status, _, said = self.ask(
            "PUT", f"{repository}/manifests/{reference}", content, content_type=document["mediaType"]
        )
        assert status == 201, said
        return digest(content)

    def put_image(
        self, name: str, image: SampleImage, *, oci: bool = False, blobs: Sequence[bytes] | None = None
    ) -> dict[str, Any]:
        """Store an image under `repository:tag`, gzip layers unless `blobs` says otherwise; its manifest."""
        repository, _, tag = name.partition(":")
        packed = blobs if blobs is not None else [gzip.compress(layer, 1, mtime=0) for layer in image.layers]
        kinds = (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER) if oci else (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)
        suffixes = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"} if oci else {}
        manifest = {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": {"mediaType": kinds[1], **self.put_blob(repository, image.content)},
            "layers": [
                {"mediaType": kinds[2] + suffixes.get(blob[:2], ""), **self.put_blob(repository, blob)}
                for blob in packed
            ],
        }
        self.put_manifest(repository, tag or digest(json.dumps(manifest).encode()), manifest)
        return manifest


def busybox_image() -> SampleImage:
    """The image of `busybox_archive`, to be put into a registry."""
    with tarfile.open(fileobj=io.BytesIO(busybox_archive())) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    config = json.loads(members["config.json"])
    config.pop("rootfs")
    return SampleImage(layers=(members["layer.tar"],), config=config)
