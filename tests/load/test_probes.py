"""Probes leave nothing: some thousands in the suite, two million by `ops/probes`."""

import pytest

from tests.load.probes import CONTAINERS, grow

PROBES = 12_000
SLACK_BYTES = 4_000_000  # of memory: what the interpreter and the allocator do by themselves


@pytest.mark.slow
async def test_probes_add_nothing_to_the_log_and_little_to_memory(tmp_path):
    grown = await grow(tmp_path, PROBES)
    assert grown.probes >= PROBES
    assert grown.healthy == CONTAINERS
    assert grown.log_bytes == 0
    assert grown.memory_bytes < SLACK_BYTES
