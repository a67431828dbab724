"""What is told of this host."""

import pytest

from daemon.host import amd64_level, platform_parts

V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse2", ""),
        (V2, "v2"),
        (V3, "v3"),
        (V3.replace("ssse3", ""), ""),
        (f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl", "v4"),
        (f"{V3} avx512f", "v3"),
    ],
)
def test_levels_of_processors(flags, level):
    assert amd64_level(frozenset(flags.split())) == level


def test_this_host_has_a_platform():
    system, architecture, _ = platform_parts()
    assert system == "linux"
    assert architecture
