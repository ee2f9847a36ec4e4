"""Rows of frozen weights in a folder, shared by several trainings and processes."""

import contextlib
import hashlib
import json
import struct
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, cast
from uuid import uuid4

import numpy
from thinc.api import Model, to_numpy

from ...errors import Warnings
from ...types import AnyModel, BackboneAttrs, Config, Floats

_HEADER = struct.Struct("<16s16sII")
"""Key, checksum, rows and columns of what follows."""
_SHARED: ContextVar[tuple[Path, int] | None] = ContextVar("shared rows", default=None)


class RowFolder:
    """Arrays of two dimensions, by keys of 16 bytes. Each process adds to a file of its own, and reads all: none waits
    for another, and what a killed process has half-written is the end of its file, which is not read.

    folder (Path): The folder; it is made.
    dtype (str): Of the arrays.
    most (int): The most bytes of all files. When they are reached nothing is added.
    """

    def __init__(self, folder: Path, dtype: str, most: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dtype, self.most = folder, numpy.dtype(dtype), most
        self.used = 0
        self._places: dict[bytes, tuple[Path, int, bytes, tuple[int, int]]] = {}
        self._open: dict[Path, IO[bytes]] = {}
        self._own: IO[bytes] | None = None
        for path in sorted(folder.glob("*.rows")):
            self._index(path)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def get(self, key: bytes) -> Floats | None:
        """RETURNS (Optional[Floats2d]): The array; None where it is missing or does not match its checksum."""
        if key not in self._places:
            return None
        path, begin, digest, shape = self._places[key]
        if path not in self._open:
            self._open[path] = path.open("rb")
        file = self._open[path]
        file.seek(begin)
        data = file.read(shape[0] * shape[1] * self.dtype.itemsize)
        return None if _digest(data) != digest else numpy.frombuffer(data, self.dtype).reshape(shape)

    def put(self, key: bytes, array: Floats) -> None:
        """Add an array, if there is room."""
        data = cast(bytes, to_numpy(array).tobytes())
        size = _HEADER.size + len(data)
        if key in self._places or self.used + size > self.most:
            return
        try:
            if self._own is None:
                self._own = (self.folder / f"{uuid4().hex}.rows").open("ab")
            begin, digest = self._own.tell() + _HEADER.size, _digest(data)
            self._own.write(_HEADER.pack(key, digest, *array.shape) + data)
            self._own.flush()
        except OSError as error:
            self.most = 0
            warnings.warn(Warnings.W900.format(folder=self.folder, error=error), stacklevel=2)
            return
        self.used += size
        self._places[key] = (Path(self._own.name), begin, digest, (array.shape[0], array.shape[1]))

    def _index(self, path: Path) -> None:
        size, begin = path.stat().st_size, 0
        with path.open("rb") as file:
            while begin + _HEADER.size <= size:
                file.seek(begin)
                key, digest, rows, columns = _HEADER.unpack(file.read(_HEADER.size))
                begin += _HEADER.size
                length = rows * columns * self.dtype.itemsize
                if begin + length <= size:
                    self._places[key] = (path, begin, digest, (rows, columns))
                begin += length
        self.used += size


@contextlib.contextmanager
def rows_shared_in(folder: Path, most_mb: int) -> Iterator[None]:
    """Within, frozen backbones that are initialised read their rows from a folder and add to it.

    folder (Path): Gets a folder for each encoder, by its weights and settings.
    most_mb (int): The most megabytes for each.
    """
    token = _SHARED.set((folder, most_mb))
    try:
        yield
    finally:
        _SHARED.reset(token)


def shared_rows(
    model: AnyModel, settings: Callable[[], Config], dtype: str, own: tuple[Path, int] | None = None
) -> RowFolder | None:
    """The folder for the rows of an encoder as it is now.

    settings (Callable[[], Dict[str, Any]]): Gives the component's block in the config. Rows depend on that of the model
        in it as on the weights.
    own (Optional[Tuple[Path, int]]): The folder outside of `rows_shared_in`, and the most megabytes in it.
    RETURNS (Optional[RowFolder]): None without a folder.
    """
    shared = _SHARED.get() or own
    if shared is None:
        return None
    digest = hashlib.sha256(json.dumps([settings()["model"], dtype, model.ops.name], sort_keys=True).encode("utf8"))
    for part in weights_of(model):
        digest.update(part)
    return RowFolder(shared[0] / digest.hexdigest()[:32], dtype, shared[1] * 2**20)


def weights_of(model: AnyModel) -> Iterator[bytes]:
    """YIELDS (bytes): Names and values of all parameters, in the order of the layers."""
    for node in model.walk():
        fingerprint = BackboneAttrs.of(node).fingerprint if BackboneAttrs.fits(node) else None
        yield f"{node.name} {fingerprint}".encode()
        for name in node.param_names:
            if node.has_param(name):
                yield to_numpy(node.get_param(name)).tobytes()
        for shim in node.shims:
            encoder = vars(shim).get("encoder")
            if isinstance(encoder, Model):
                yield from weights_of(encoder)
            elif hasattr(shim._model, "state_dict"):
                for name, tensor in shim._model.state_dict().items():
                    yield name.encode()
                    yield tensor.detach().cpu().float().numpy().tobytes()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
