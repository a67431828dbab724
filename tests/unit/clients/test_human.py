"""Sizes, ages and ports in the docker CLI's words."""

import pytest

from clients.cli import human
from clients.cli.listing import plain_table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (86400 * 3, "3 days"),
        (86400 * 15, "2 weeks"),
        (86400 * 70, "2 months"),
        (86400 * 365 * 3, "3 years"),
    ],
)
def test_ages(seconds, text):
    assert human.age(seconds) == text


def test_sizes():
    assert [human.size(count) for count in (0, 999, 1000, 1_234_567, 1.5e9)] == [
        "0B",
        "999B",
        "1kB",
        "1.235MB",
        "1.5GB",
    ]
    assert human.size(1_982_345, 3) == "1.98MB"
    assert human.binary_size(1536) == "1.5KiB"
    assert [human.parse_size(text) for text in ("1k", "1.5g", "10", "2MB", "3MiB", "7b")] == [
        1024,
        3 << 29,
        10,
        2 << 20,
        3 << 20,
        7,
    ]
    with pytest.raises(ValueError, match="could not convert"):
        human.parse_size("much")


def test_ports_in_ranges():
    def port(private, public=0, address="", protocol="tcp"):
        return {"PrivatePort": private, "PublicPort": public, "IP": address, "Type": protocol}

    assert human.ports([port(80, 8080, "0.0.0.0"), port(443)]) == "443/tcp, 0.0.0.0:8080->80/tcp"
    assert human.ports([port(80, 8080, "::"), port(81, 8081, "::")]) == "[::]:8080-8081->80-81/tcp"
    assert human.ports([port(53, protocol="udp"), port(54, protocol="udp")]) == "53-54/udp"


def test_tables_are_set_as_the_docker_cli_sets_them():
    assert plain_table(["A", "LONG TITLE"], [["x" * 12, "y"]]) == "A              LONG TITLE\nxxxxxxxxxxxx   y\n"


def test_times_of_the_engine():
    assert human.parse_time("2026-01-31T12:00:00.123456789Z").isoformat() == "2026-01-31T12:00:00.123456+00:00"
    assert human.parse_time("2026-01-31T12:00:00Z").year == 2026
