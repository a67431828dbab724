"""One engine for each module of tests, with an image; nothing of it may be left at the end."""

import pytest

from tests.engines import engine_with_image


@pytest.fixture(scope="module")
def engine():
    """A running engine with `busybox:latest`."""
    with engine_with_image() as subject:
        yield subject
        ids = subject.out("ps", "-aq").split()
        if ids:
            subject.docker("rm", "-f", "-v", *ids)
        assert subject.stop() == 0
        assert subject.leftovers() == []
