"""Writing of files that are whole or absent, and checksums, which are checked before a file is parsed."""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import srsly

from .errors import Errors
from .types import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The prefix of sealed bytes. No safetensors and no msgpack begins with it.
_SEAL = b"spacy-transfer.sha256\n"
_SIZE = hashlib.sha256().digest_size


def write_whole(path: Path, data: bytes) -> None:
    """Write to a temporary file, sync it to the disk, and rename it. If the process is killed or the disk is full, the
    old file or the new one is there, never a part of it.

    RAISES (OSError): When it cannot be written; an old file is not changed.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(Errors.T436.format(path=path, error=error)) from error


def write_picture(figure: "Figure", path: Path, kind: str = "png") -> None:
    """Write a picture of matplotlib, whole or not at all; `kind` is the format."""
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    write_whole(path, buffer.getvalue())


def write_checked(path: Path, data: bytes) -> None:
    """Write a file, and its checksum beside it. Between the two renames the checksum file lists the old and the new
    file, so that both are valid."""
    sums, digest = _sums(path), hashlib.sha256(data).hexdigest().encode()
    old = sums.read_bytes().split() if path.exists() and sums.exists() else []
    if old != [digest]:
        write_whole(sums, b"\n".join([*old, digest]))
    write_whole(path, data)
    if old not in ([], [digest]):
        write_whole(sums, digest)


def read_checked(path: Path, *, may_lack: bool = False) -> bytes:
    """RETURNS (bytes): The content of a file.

    may_lack (bool): Accept a file without a checksum, from before there were any.
    RAISES (ValueError): When the file or its checksum is missing, or they do not match.
    """
    sums = _sums(path)
    for file in (path, sums):
        if not file.is_file() and not (may_lack and file is sums):
            raise ValueError(Errors.T407.format(path=file))
    data = path.read_bytes()
    if sums.is_file() and hashlib.sha256(data).hexdigest().encode() not in sums.read_bytes().split():
        raise ValueError(Errors.T408.format(path=path))
    return data


def has_checksum(path: Path) -> bool:
    """RETURNS (bool): Whether a file has a checksum."""
    return _sums(path).is_file()


def seal_folder(folder: Path) -> None:
    """Sync the files that another library has written into a folder, and write checksums of its weights."""
    for path in sorted(file for file in folder.iterdir() if file.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        if path.suffix == ".safetensors":
            write_whole(_sums(path), hashlib.sha256(path.read_bytes()).hexdigest().encode())


def check_folder(folder: Path) -> None:
    """Check the weights in a folder that have a checksum.

    RAISES (ValueError): When one is missing or does not match.
    """
    for sums in sorted(folder.glob("*.safetensors.sha256")):
        read_checked(sums.with_suffix(""))


def seal(data: bytes) -> bytes:
    """RETURNS (bytes): The data, after their checksum."""
    return b"".join((_SEAL, hashlib.sha256(data).digest(), data))


def unseal(data: bytes, where: str) -> bytes:
    """Check sealed data. Data without a seal, from before there was one, are not checked.

    RAISES (ValueError): When they do not match their checksum.
    """
    if not data.startswith(_SEAL):
        return data
    start = len(_SEAL) + _SIZE
    digest, data = data[len(_SEAL) : start], data[start:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError(Errors.T437.format(where=where, error="it does not match its checksum"))
    return data


def pack(data: object) -> bytes:
    """msgpack, byte for byte that of srsly. srsly looks through the entry points of all installed packages at every
    call: too long where each doc is packed.

    RETURNS (bytes): Without a seal.
    """
    packed: bytes = _packer(threading.get_ident()).pack(data)
    return packed


@lru_cache(maxsize=16)
def _packer(thread: int) -> srsly.msgpack.Packer:
    """A packer for each thread: it has one buffer."""
    return srsly.msgpack.Packer(use_bin_type=True)


@cache
def _decoder() -> Callable[[object], object]:
    """What srsly calls for each dictionary, found once."""
    found: Callable[[object], object] | None = None
    for decoder in srsly.msgpack_decoders.get_all().values():
        found = partial(decoder, chain=found)
    return found or (lambda data: data)


def unpack(data: bytes, where: str, fields: Mapping[str, type | tuple[type, ...]] | None = None) -> Config:
    """Read a dictionary from msgpack, sealed or not.

    fields (Optional[Mapping[str, type]]): Fields that it must have, and their types.
    RAISES (ValueError): When they do not match their checksum, or are no msgpack of a dictionary with these fields.
    """
    data = unseal(data, where)
    try:
        decode = _decoder()
        found = srsly.msgpack.unpackb(data, raw=False, object_pairs_hook=lambda pairs: decode(dict(pairs)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(Errors.T437.format(where=where, error=error)) from error
    if not isinstance(found, dict):
        raise ValueError(Errors.T437.format(where=where, error="it holds no dictionary"))
    for field, kind in (fields or {}).items():
        if not isinstance(found.get(field), kind):
            what = f"of type {type(found[field]).__name__}" if field in found else "missing"
            raise ValueError(Errors.T437.format(where=where, error=f"its field {field!r} is {what}"))
    return found


def _sums(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
