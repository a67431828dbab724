"""Times as people give them: RFC 3339, seconds since 1970, or a span before now."""

import re
import time
from datetime import datetime

import click

from clients.cli.create_body import duration_ns

_NUMBER = re.compile(r"\d+(\.\d+)?")


def timestamp(text: str) -> str:
    """Seconds since 1970, as the API takes them. Raises click.BadParameter."""
    if _NUMBER.fullmatch(text):
        return text
    try:
        return f"{datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp():.9f}"
    except ValueError:
        pass
    try:
        return f"{time.time() - duration_ns('time', text) / 1e9:.9f}"  # noqa: TID251 - now is what the person means
    except click.BadParameter as error:
        raise click.BadParameter(
            f"'{text}' is no time: use RFC 3339 (2026-01-31T12:00:00Z), seconds since 1970, or a span such as 10m"
        ) from error
