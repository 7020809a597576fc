"""Files that must be exactly the expected ones."""

import hashlib
from functools import lru_cache
from pathlib import Path

__all__ = ["WeightsError", "check_sha256"]


class WeightsError(RuntimeError):
    """Weights are missing or are not the expected ones; the message says what to do."""


def check_sha256(path: Path, expected: str, remedy: str = "") -> Path:
    """Returns ``path`` if the file there is exactly the expected one.

    A file is read once per process and again only when its size or modification time changes.

    Args:
        path: the file.
        expected: its SHA-256 in hexadecimal.
        remedy: A sentence for the error message: how to get the right file.

    Raises:
        WeightsError: if no file is there, or its SHA-256 is another.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path} is missing (expected SHA-256 {expected}). {remedy}".rstrip()
        )
    stat = path.stat()
    actual = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if actual != expected:
        raise WeightsError(
            f"{path} is damaged or another file: {stat.st_size:,} bytes with SHA-256 {actual}, "
            f"expected {expected}. {remedy}".rstrip()
        )
    return path


@lru_cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file; size and time are part of the key, so a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
