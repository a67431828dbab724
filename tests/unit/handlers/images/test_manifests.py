"""Manifests and indexes: what is read, what is chosen, and that nonsense of any form is refused by name."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import EngineError
from events.messages.image import ImageConfig, RootFilesystem
from handlers.images import configuration, manifests
from handlers.images.platforms import Platform
from handlers.images.registry_errors import BadManifest, NoMatchingManifest

DIGEST = "sha256:" + "a" * 64
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 3}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def document(**members) -> bytes:
    return json.dumps({"schemaVersion": 2, **members}).encode()


def test_a_manifest_is_known_by_its_own_type_or_the_header_or_its_members():
    for content, header in [
        (document(mediaType=MANIFEST, config=CONFIG, layers=[LAYER]), ""),
        (document(config=CONFIG, layers=[LAYER]), MANIFEST),
        (document(config=CONFIG, layers=[LAYER]), "text/plain"),
    ]:
        found = manifests.read(content, header)
        assert isinstance(found, manifests.Manifest)
        assert (found.config.size, found.layers[0].size) == (2, 3)


@pytest.mark.parametrize(
    ("content", "header", "text"),
    [
        (document(mediaType=MANIFEST, config=CONFIG, layers=[LAYER], manifests=[]), "", "both"),
        (document(), "", "unsupported manifest media type"),
        (document(mediaType=MANIFEST, layers=[LAYER]), "", "config"),
        (document(config=CONFIG, layers=[LAYER | {"size": -1}]), MANIFEST, "size"),
        (document(config=CONFIG, layers=[LAYER | {"digest": "sha512:00"}]), MANIFEST, "unsupported digest"),
        (document(config=CONFIG, layers=[LAYER] * 200), MANIFEST, "200 layers"),
        (document(config=CONFIG, layers=[LAYER | {"mediaType": "text/html"}]), MANIFEST, "text/html"),
        (document(config=CONFIG | {"mediaType": "application/helm"}, layers=[]), MANIFEST, "helm"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "", "schema 1"),
        (b"[" * 200_000, "", "invalid manifest"),
        (b'{"layers":' * 100_000, "", "invalid manifest"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(content, header, text):
    with pytest.raises(BadManifest, match=text):
        manifests.read(content, header)


def entry(architecture: str, variant: str = "", **more) -> manifests.Descriptor:
    platform = Platform(os="linux", architecture=architecture, variant=variant)
    return manifests.Descriptor(digest=DIGEST, size=1, platform=platform, **more)


def test_the_platform_decides():
    six, seven, plain = entry("arm", "v6"), entry("arm", "v7"), entry("arm")
    attestation = entry("amd64", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    index = manifests.Index(manifests=(attestation, plain, six, seven))
    assert manifests.choose(index, Platform(architecture="arm", variant="v7")) is seven
    assert manifests.choose(index, Platform(architecture="arm", variant="v5")) is plain
    with pytest.raises(NoMatchingManifest, match="no matching manifest for linux/amd64 in the manifest list entries"):
        manifests.choose(index, Platform(architecture="amd64"))


def test_a_configuration_that_lies_about_its_layers():
    manifest = manifests.read(document(config=CONFIG, layers=[LAYER, LAYER]), MANIFEST)
    assert isinstance(manifest, manifests.Manifest)
    with pytest.raises(BadManifest, match="layers length mismatch: expected 1, got 2"):
        manifests.blobs(manifest, ImageConfig(rootfs=RootFilesystem(diff_ids=(DIGEST,))))
    with pytest.raises(BadManifest, match="unsupported digest"):
        manifests.blobs(manifest, ImageConfig(rootfs=RootFilesystem(diff_ids=(DIGEST, "../x"))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.integers(0, 3) | JSON,
        "mediaType": st.sampled_from([MANIFEST, INDEX, "", "x"]) | JSON,
        "config": st.just(CONFIG) | JSON,
        "layers": st.lists(st.just(LAYER) | JSON, max_size=3) | JSON,
        "manifests": st.lists(st.just(LAYER) | JSON, max_size=3) | JSON,
        "rootfs": JSON
        | st.fixed_dictionaries({"type": st.just("layers"), "diff_ids": st.lists(st.text(), max_size=2)}),
        "history": JSON,
        "os": st.just("linux") | JSON,
    },
)


@settings(deadline=None, max_examples=400)
@given(st.one_of(MEMBERS.map(lambda each: json.dumps(each).encode()), st.binary(max_size=200)), st.text(max_size=10))
def test_whatever_comes_is_read_or_refused(content, header):
    kinds = {
        kind_of_refusal(lambda: manifests.read(content, header)),
        kind_of_refusal(lambda: configuration.parse(content)),
    }
    assert kinds <= {"", "invalid_parameter"}


def kind_of_refusal(read) -> str:
    try:
        read()
    except EngineError as error:
        return error.kind
    return ""
