"""One engine for each module of tests, with an image; nothing of it may be left at the end."""

import pytest

from tests.engines import EngineUnderTest


@pytest.fixture(scope="module")
def engine():
    """A running engine with `busybox:latest`."""
    subject = EngineUnderTest()
    try:
        subject.start()
        subject.load_busybox()
        yield subject
        ids = subject.out("ps", "-aq").split()
        if ids:
            subject.docker("rm", "-f", "-v", *ids)
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()
