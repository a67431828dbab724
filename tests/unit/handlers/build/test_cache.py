"""Which steps are found again."""

import msgspec
import pytest

from events.messages.image import History, ImageConfig, RootFilesystem
from handlers.build import cache

replace = msgspec.structs.replace
BASE = ImageConfig(history=(History(created_by="base"),), rootfs=RootFilesystem(diff_ids=("sha256:0",)))
SOURCE = ImageConfig(
    history=(*BASE.history, History(created_by="ENV", created="then", empty_layer=True), History(created_by="RUN")),
    rootfs=RootFilesystem(diff_ids=("sha256:0", "sha256:1")),
)
AFTER_ENV = replace(SOURCE, history=SOURCE.history[:2], rootfs=BASE.rootfs)


@pytest.mark.parametrize(
    ("below", "created_by", "hit"),
    [
        (BASE, "ENV", cache.Hit(created="then")),
        (AFTER_ENV, "RUN", cache.Hit(image_id="source")),
        (BASE, "RUN", None),
        (ImageConfig(), "base", cache.Hit(image_id="other")),
        (SOURCE, "more", None),
        (replace(BASE, rootfs=RootFilesystem(diff_ids=("sha256:9",))), "ENV", None),
    ],
)
def test_steps_of_an_image_from_elsewhere(below, created_by, hit):
    assert cache.of_sources([("other", BASE), ("source", SOURCE)], below, created_by) == hit
