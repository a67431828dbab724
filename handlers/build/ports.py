"""What the builder needs of others: the output of a container, and files behind URLs."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from events.messages.image import Credentials


class Outputs(Protocol):
    """What processes of containers write."""

    def follow(self, container_id: str) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces with their stream (1 or 2) of the container's next run, until it has ended and all was read.

        Which run is meant is settled now, not when it is read.
        """


class WebFile(Protocol):
    """A file behind a URL."""

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes as they come."""


class Web(Protocol):
    """Files behind URLs."""

    def open(self, url: str, credentials: Credentials) -> AbstractAsyncContextManager[WebFile]:
        """What is there. Raises SystemFailure where there is no answer, and what the server's refusal amounts to."""
