"""Weights on disk with a checksum beside them, so that a file that was cut short or changed is noticed."""

import hashlib
from pathlib import Path

from ..errors import Errors


def write_checksum(weights: Path) -> None:
    """Write the checksum of a file beside it.

    weights (Path): The file.
    """
    _checksum_file(weights).write_text(_sha256(weights.read_bytes()))


def read_checked(weights: Path) -> bytes:
    """RETURNS (bytes): What is in the file.

    weights (Path): The file.
    RAISES (ValueError): When the file or its checksum is missing, or they do not match.
    """
    for file in (weights, _checksum_file(weights)):
        if not file.exists():
            raise ValueError(Errors.T407.format(path=file))
    data = weights.read_bytes()
    if _sha256(data) != _checksum_file(weights).read_text().strip():
        raise ValueError(Errors.T408.format(path=weights))
    return data


def _checksum_file(weights: Path) -> Path:
    return weights.with_name(weights.name + ".sha256")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
