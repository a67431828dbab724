from collections.abc import AsyncIterator

import anyio.to_thread
import pytest


@pytest.fixture
async def quick_threads_taken() -> AsyncIterator[None]:
    """anyio's own pool has no thread left."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    holder = object()
    await limiter.acquire_on_behalf_of(holder)
    yield
    limiter.release_on_behalf_of(holder)
    limiter.total_tokens = before
