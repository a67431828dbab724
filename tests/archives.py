"""Contexts of builds, as clients send them."""

import io
import tarfile
from collections.abc import Mapping


def context_tar(dockerfile: str, files: Mapping[str, str] | None = None) -> bytes:
    """A tar with a Dockerfile and files by name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in {"Dockerfile": dockerfile, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return archive.getvalue()
