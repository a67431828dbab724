"""What a trust policy lets in: accepted, rejected, and signed images, with the signatures in the registry."""

import base64
import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest
from tests.fakes.image_archives import sample
from tests.registries import OCI_CONFIG, OCI_MANIFEST, Registry, digest

pytestmark = pytest.mark.root
PULL_S = 120.0
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"


class World:
    """An engine with a policy, and a registry with images of every kind."""

    def __init__(self) -> None:
        self.engine = EngineUnderTest()
        self.keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ours", "theirs")}
        self.registry: Registry | None = None

    def begin(self) -> None:
        directory = self.engine.directory
        self.registry = Registry(self.engine, directory / "registry")
        public = self.keys["ours"].public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )  # fmt: skip
        (directory / "ours.pub").write_bytes(public)
        signed = {"type": "sigstoreSigned", "keyPath": str(directory / "ours.pub")}
        by_repository = signed | {"signedIdentity": {"type": "matchRepository"}}
        host = self.registry.address
        policy = {
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {
                    f"{host}/free": [{"type": "insecureAcceptAnything"}],
                    f"{host}/free/not": [{"type": "reject"}],
                    f"{host}/signed": [by_repository],
                    f"{host}/exact": [signed],
                }
            },
        }
        (directory / "policy.json").write_text(json.dumps(policy))
        (directory / "daemon.json").write_text(json.dumps({"trust-policy": str(directory / "policy.json")}))
        self.engine.start("--config-file", str(directory / "daemon.json"))

    def put(self, name: str) -> str:
        """An image, and its manifest's digest."""
        assert self.registry is not None
        return digest(json.dumps(self.registry.put_image(name, sample(name))).encode())

    def sign(self, name: str, signed: str, *, key: str = "ours", reference: str = "", damage: bytes = b"") -> None:
        """A signature for a digest, in the repository of an image."""
        assert self.registry is not None
        repository = name.partition(":")[0]
        named = reference or f"{self.registry.address}/{repository}"
        payload = json.dumps(
            {
                "critical": {
                    "identity": {"docker-reference": named},
                    "image": {"docker-manifest-digest": signed},
                    "type": "cosign container image signature",
                },
                "optional": None,
            }
        ).encode()
        signature = base64.b64encode(self.keys[key].sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
        layer = self.registry.put_blob(repository, payload + damage)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, **self.registry.put_blob(repository, b"{}")},
            "layers": [
                {"mediaType": SIMPLE, **layer, "annotations": {"dev.cosignproject.cosign/signature": signature}}
            ],
        }
        of = digest(json.dumps(self.registry.put_image(name, sample(name))).encode())
        self.registry.put_manifest(repository, f"{of.replace(':', '-')}.sig", manifest)

    def pull(self, name: str) -> str:
        """What the CLI says of a failure; "" when the image came."""
        assert self.registry is not None
        full = f"{self.registry.address}/{name}"
        result = self.engine.docker("pull", full, check=False, timeout_s=PULL_S)
        if result.returncode == 0:
            self.engine.docker("rmi", "-f", full)
        said: str = result.stderr.decode()
        return said

    def close(self) -> None:
        if self.registry is not None:
            self.registry.close()
            self.registry = None


@pytest.fixture(scope="module")
def world():
    subject = World()
    try:
        subject.begin()
        yield subject
        assert subject.engine.stop() == 0
        subject.close()
        assert subject.engine.leftovers() == []
    finally:
        subject.close()
        subject.engine.close()


def test_the_narrowest_scope_decides(world):
    world.put("free/one:1")
    assert world.pull("free/one:1") == ""
    for name in ("free/not/this:1", "elsewhere:1"):
        world.put(name)
        assert "is rejected by policy" in world.pull(name)


def test_a_signed_image_comes_in(world):
    world.sign("signed/good:1", world.put("signed/good:1"))
    assert world.pull("signed/good:1") == ""


def test_an_image_without_a_good_signature_stays_out(world):
    world.put("signed/none:1")
    assert "Source image rejected: A signature was required, but no signature exists" in world.pull("signed/none:1")
    world.sign("signed/theirs:1", world.put("signed/theirs:1"), key="theirs")
    assert "cryptographic signature verification failed" in world.pull("signed/theirs:1")
    world.sign("signed/other:1", world.put("signed/good:1"))
    assert "it is for another image" in world.pull("signed/other:1")
    world.sign("signed/named:1", world.put("signed/named:1"), reference="quay.example/signed/named")
    assert "Signature for identity quay.example/signed/named is not accepted" in world.pull("signed/named:1")
    world.sign("signed/damaged:1", world.put("signed/damaged:1"), damage=b" ")
    assert "cryptographic signature verification failed" in world.pull("signed/damaged:1")
    assert world.engine.out("images", "-q") == ""


def test_an_exact_identity_has_the_tag(world):
    assert world.registry is not None
    signed = world.put("exact/app:1")
    world.sign("exact/app:1", signed)
    assert "is not accepted" in world.pull("exact/app:1")
    world.sign("exact/app:1", signed, reference=f"{world.registry.address}/exact/app:1")
    assert world.pull("exact/app:1") == ""
    assert world.pull(f"exact/app@{signed}") == ""


def test_a_refusal_is_in_the_log_with_its_reason(world):
    refused = world.put("signed/told:1")
    world.pull("signed/told:1")
    with RawClient(world.engine.socket, PULL_S) as client:
        lines = client.ask("GET", "/shiplog/events?from=1&follow=false").body.splitlines()
    told = [line for line in lines if b'"image.refused"' in line]
    assert refused.encode() in told[-1]
    assert b"A signature was required, but no signature exists" in told[-1]


def test_a_policy_that_can_not_be_followed_lets_nothing_in(world):
    path = world.engine.directory / "policy.json"
    kept = path.read_text()
    try:
        world.put("free/two:1")
        for text in ("{", '{"default": [{"type": "signedBy"}]}', '{"default": []}', '{"default": [], "x": 1}'):
            path.write_text(text)
            assert "trust policy" in world.pull("free/two:1"), text
    finally:
        path.write_text(kept)
    assert world.pull("free/two:1") == ""


def test_the_daemon_does_not_start_with_such_a_policy(tmp_path):
    (tmp_path / "policy.json").write_text('{"default": [{"type": "signedBy"}]}')
    result = subprocess.run(
        [sys.executable, "-m", "daemon", "--validate", "--trust-policy", tmp_path / "policy.json"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 1
    assert b"requirement type 'signedBy' is not supported" in result.stderr
