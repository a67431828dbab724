"""File systems for graph drivers, made once for each module that asks for them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.filesystems import Grounds


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """Directories that drivers can be put on."""
    with ExitStack() as stack:
        yield Grounds(stack, tmp_path_factory.mktemp("grounds"))
