"""Which images may come in: the policy file that podman and others read too, and sigstore signatures by key.

Without a policy everything may. The file: containers-policy.json(5); signatures lie in the image's own repository under
the tag `sha256-<hex>.sig`: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from events import references
from events.errors import Forbidden, InvalidParameter
from events.references import Reference
from handlers.images.manifests import Descriptor, Manifest, decode
from handlers.images.ports import Repository
from handlers.images.registry_errors import BadManifest, RegistryRefused

Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_PAYLOAD_LIMIT_BYTES: Final = 1024 * 1024
_SIGNATURES_LIMIT: Final = 32
_TRANSPORT: Final = "docker"


class BadPolicy(InvalidParameter):
    """A policy file that can't be followed; nothing comes in until it can."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"trust policy {path}: {reason}")


class Untrusted(Forbidden):
    """The policy doesn't let an image in."""

    def __init__(self, name: str, digest: str, reason: str) -> None:
        self.name, self.digest, self.reason = name, digest, reason
        super().__init__(f"Source image rejected: {reason}")


class Identity(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which name a signature has to be for."""

    type: str = "matchRepoDigestOrExact"
    docker_reference: str = ""
    docker_repository: str = ""
    prefix: str = ""
    signed_prefix: str = ""


class Requirement(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One of the things that have to hold."""

    type: str
    key_path: str = ""
    key_paths: tuple[str, ...] = ()
    key_data: str = ""
    key_datas: tuple[str, ...] = ()
    signed_identity: Identity = Identity()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file; scopes by transport."""

    default: tuple[Requirement, ...]
    transports: dict[str, dict[str, tuple[Requirement, ...]]] = {}

    def requirements(self, reference: Reference) -> tuple[Requirement, ...]:
        """Of the narrowest scope that a name lies in."""
        scopes = self.transports.get(_TRANSPORT, {})
        return next((scopes[scope] for scope in scopes_of(reference) if scope in scopes), self.default)


class _Image(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    docker_manifest_digest: str


class _Named(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    docker_reference: str


class _Critical(msgspec.Struct, frozen=True, kw_only=True):
    identity: _Named
    image: _Image
    type: str


class _Payload(msgspec.Struct, frozen=True, kw_only=True):
    critical: _Critical


def read_policy(path: Path) -> Policy:
    """The file, checked. Raises BadPolicy. Blocks."""
    try:
        policy = msgspec.json.decode(path.read_bytes(), type=Policy)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadPolicy(path, error) from error
    for requirements in (policy.default, *(each for scopes in policy.transports.values() for each in scopes.values())):
        if not requirements:
            raise BadPolicy(path, "a scope without requirements")
        for requirement in requirements:
            _check(path, requirement)
    return policy


def _check(path: Path, requirement: Requirement) -> None:
    if requirement.type not in ("insecureAcceptAnything", "reject", "sigstoreSigned"):
        raise BadPolicy(path, f"requirement type {requirement.type!r} is not supported")
    if requirement.signed_identity.type not in _MATCHES:
        raise BadPolicy(path, f"signed identity {requirement.signed_identity.type!r} is not supported")
    if requirement.type == "sigstoreSigned":
        keys(path, requirement)


def keys(path: Path, requirement: Requirement) -> list[Key]:
    """The public keys of a requirement. Raises BadPolicy. Blocks."""
    files = [each for each in (requirement.key_path, *requirement.key_paths) if each]
    texts = [each for each in (requirement.key_data, *requirement.key_datas) if each]
    if not files and not texts:
        raise BadPolicy(path, "sigstoreSigned needs keyPath, keyPaths, keyData or keyDatas")
    try:
        pems = [Path(file).read_bytes() for file in files] + [base64.b64decode(text, validate=True) for text in texts]
        found = [load_pem_public_key(pem) for pem in pems]
    except (OSError, ValueError, binascii.Error) as error:
        raise BadPolicy(path, error) from error
    usable = [each for each in found if isinstance(each, Key)]
    if len(usable) < len(found):
        raise BadPolicy(path, "a key of a kind that signs nothing")
    return usable


def scopes_of(reference: Reference) -> list[str]:
    """Scopes that a name lies in, the narrowest first: itself, its repository and what that lies in, domains, all."""
    path, host = reference.name, reference.name.partition("/")[0]
    found = [reference.canonical]
    while path:
        found.append(path)
        path = path.rpartition("/")[0]
    domain = host.partition(":")[0]
    while "." in domain:
        domain = domain.partition(".")[2]
        found.append(f"*.{domain}")
    return [*found, ""]


class Guard:
    """Enforces a policy file, read at every use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def requirements(self, reference: Reference) -> list[tuple[Requirement, list[Key]]]:
        """What has to hold for a name, with the keys. Raises BadPolicy. Blocks."""
        wanted = read_policy(self._path).requirements(reference)
        return [(each, keys(self._path, each) if each.type == "sigstoreSigned" else []) for each in wanted]


async def check(
    wanted: Sequence[tuple[Requirement, Sequence[Key]]], reference: Reference, digest: str, repository: Repository
) -> None:
    """Let an image pass, by the digest of what its name stands for. Raises Untrusted, RegistryUnreachable."""
    signatures: list[tuple[bytes, bytes]] | None = None
    for requirement, public_keys in wanted:
        if requirement.type == "reject":
            raise Untrusted(reference.canonical, digest, f"Running image {reference.familiar} is rejected by policy.")
        if requirement.type == "sigstoreSigned":
            if signatures is None:
                signatures = await _signatures(reference, digest, repository)
            _check_signed(signatures, public_keys, requirement.signed_identity, reference, digest)


async def _signatures(reference: Reference, digest: str, repository: Repository) -> list[tuple[bytes, bytes]]:
    """Payloads with their signatures, verified to be what the registry's manifest says. Raises Untrusted."""
    try:
        fetched = await repository.manifest(f"{digest.replace(':', '-')}.sig")
    except RegistryRefused as error:
        if error.status != 404:
            raise
        raise Untrusted(reference.canonical, digest, "A signature was required, but no signature exists") from error
    layers = decode(fetched.content, Manifest).layers[:_SIGNATURES_LIMIT]
    return [(await _payload(layer, repository), _signature(layer)) for layer in layers]


async def _payload(layer: Descriptor, repository: Repository) -> bytes:
    content = await repository.small_blob(layer.digest, _PAYLOAD_LIMIT_BYTES)
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != layer.digest:
        raise BadManifest(f"signature verification failed for digest {layer.digest}")
    return content


def _signature(layer: Descriptor) -> bytes:
    try:
        return base64.b64decode((layer.annotations or {}).get(_SIGNATURE, ""), validate=True)
    except binascii.Error:
        return b""


def _check_signed(
    signatures: Sequence[tuple[bytes, bytes]],
    public_keys: Sequence[Key],
    identity: Identity,
    reference: Reference,
    digest: str,
) -> None:
    """One good signature is enough. Raises Untrusted with the reasons against all of them."""
    reasons = [
        _objection(payload, signature, public_keys, identity, reference, digest) for payload, signature in signatures
    ]
    if "" in reasons:
        return
    listed = "; ".join(dict.fromkeys(reasons)) or "no signature exists"
    raise Untrusted(reference.canonical, digest, f"A signature was required, but {listed}")


def _objection(
    payload: bytes,
    signature: bytes,
    public_keys: Sequence[Key],
    identity: Identity,
    reference: Reference,
    digest: str,
) -> str:
    """Why a signature counts for nothing; "" when it is good."""
    if not any(_verifies(key, payload, signature) for key in public_keys):
        return "cryptographic signature verification failed: invalid signature when validating ASN.1 encoded signature"
    try:
        critical = msgspec.json.decode(payload, type=_Payload).critical
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"the signed text can't be read: {error}"
    if critical.image.docker_manifest_digest != digest:
        return f"it is for another image, {critical.image.docker_manifest_digest[:100]}"
    signed = critical.identity.docker_reference
    if not _MATCHES[identity.type](identity, reference, signed):
        return f"Signature for identity {signed[:200]} is not accepted"
    return ""


def _verifies(key: Key, payload: bytes, signature: bytes) -> bool:
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
            case rsa.RSAPublicKey():
                key.verify(signature, payload, padding.PKCS1v15(), hashes.SHA256())
            case ed25519.Ed25519PublicKey():
                key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True


# ---- which name a signature is for


def _parsed(text: str) -> Reference | None:
    try:
        return references.parse(text)
    except InvalidParameter:
        return None


def _exact(_: Identity, reference: Reference, signed: str) -> bool:
    found = _parsed(signed)
    return found is not None and bool(found.tag or found.digest) and found.canonical == reference.canonical


def _same_repository(_: Identity, reference: Reference, signed: str) -> bool:
    found = _parsed(signed)
    return found is not None and found.name == reference.name


def _digest_or_exact(identity: Identity, reference: Reference, signed: str) -> bool:
    match = _same_repository if reference.digest else _exact
    return match(identity, reference, signed)


def _that_reference(identity: Identity, _: Reference, signed: str) -> bool:
    wanted = _parsed(identity.docker_reference)
    return wanted is not None and _exact(identity, wanted, signed)


def _that_repository(identity: Identity, _: Reference, signed: str) -> bool:
    wanted = _parsed(identity.docker_repository)
    return wanted is not None and _same_repository(identity, wanted, signed)


def _remapped(identity: Identity, reference: Reference, signed: str) -> bool:
    name, prefix = reference.name, identity.prefix
    if name == prefix or name.startswith(f"{prefix}/"):
        name = identity.signed_prefix + name[len(prefix) :]
    return _digest_or_exact(identity, msgspec.structs.replace(reference, name=name), signed)


_MATCHES: Final[Mapping[str, Callable[[Identity, Reference, str], bool]]] = {
    "matchExact": _exact,
    "matchRepoDigestOrExact": _digest_or_exact,
    "matchRepository": _same_repository,
    "exactReference": _that_reference,
    "exactRepository": _that_repository,
    "remapIdentity": _remapped,
}
