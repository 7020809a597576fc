"""Files that installed packages ship beside their code: found, and checked by their SHA-256."""

import importlib.metadata
from pathlib import Path

from bertbook.shared.files import WeightsError, check_sha256

__all__ = ["CorpusError", "package_file"]


class CorpusError(RuntimeError):
    """A corpus is missing or is not the expected one; the message says what to do."""


def package_file(package: str, path: str, sha256: str) -> Path:
    """Find a file of an installed package, which is not imported.

    Args:
        package: name of the distribution, such as ``"gensim"``.
        path: of the file, from the folder that packages are installed in.
        sha256: that the file must have, in hexadecimal.

    Returns:
        The path of the file.

    Raises:
        CorpusError: if the package is not installed, or the file is missing or another one.
    """
    remedy = f"Install {package} anew, at the version that requirements*.txt name."
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise CorpusError(f"The package {package} is not installed. {remedy}") from None
    try:
        return check_sha256(Path(distribution.locate_file(path)), sha256, remedy)
    except WeightsError as error:
        raise CorpusError(str(error)) from None
