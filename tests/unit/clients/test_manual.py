"""The manual says what the commands' own help says."""

from clients.cli.manual import MANUAL, manual


def test_the_manual_is_up_to_date():
    assert MANUAL.read_text() == manual(), "run: .venv/bin/python -m clients.cli.manual"
