"""A cache for what is the same in every epoch: rows of a frozen backbone, and states at a freezing boundary."""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Literal, cast

import numpy
from numpy.typing import NDArray
from spacy.attrs import NORM, ORTH, SPACY
from spacy.tokens import Doc
from thinc.api import Model, to_numpy

from ...errors import Warnings
from ...transient import Transient
from ...types import BackboneAttrs, Floats
from .row_folder import RowFolder

CacheDtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class CacheSettings:
    """Bounds of a cache: megabytes in memory, then megabytes in a temporary file. "float16" takes half the room, at a
    precision of about 1e-3.

    folder (Optional[Path]): Keeps rows of a frozen backbone for later trainings, in place of the temporary file.
    """

    memory_mb: int = 0
    disk_mb: int = 0
    dtype: CacheDtype = "float32"
    folder: Path | None = None

    @property
    def is_on(self) -> bool:
        """RETURNS (bool): Whether anything is kept at all."""
        return self.memory_mb > 0 or self.disk_mb > 0


def doc_key(doc: Doc) -> bytes:
    """RETURNS (bytes): A key of 16 bytes for the text, its tokens and their norms. The hash of every word and whether
    a space follows say what the text is; building it would cost more.
    """
    return hashlib.blake2b(doc.to_array([ORTH, SPACY, NORM]).tobytes(), digest_size=16).digest()


def window_key(ids: NDArray[numpy.int64]) -> bytes:
    """RETURNS (bytes): A key of 16 bytes for a window."""
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()


def weights_version(model: Model) -> int:
    """A number that changes when weights do: rows belong to the weights that made them. Torch counts the changes of a
    tensor; Thinc does not, so some numbers of each array are compared."""
    versions: list[object] = []
    for node in model.walk():
        versions.append(BackboneAttrs.of(node).fingerprint)
        for name in node.param_names:
            if node.has_param(name):
                array = cast(Floats, node.get_param(name))
                some = array.reshape(-1)[:: max(1, array.size // 256)]
                versions.append((id(array), to_numpy(some).tobytes()))
        for shim in node.shims:
            encoder = vars(shim).get("encoder")
            if isinstance(encoder, Model):
                versions.append(weights_version(encoder))
            if hasattr(shim._model, "parameters"):
                versions += [(tensor.data_ptr(), tensor._version) for tensor in shim._model.parameters()]
    return hash(tuple(versions))


class RowCache(Transient):
    """Arrays of float32, by keys of 16 bytes: in memory up to a bound, then on disk. When both are full nothing is
    added. An epoch needs each key once: to drop the least recently used would drop each one just before it is needed.

    folder (Optional[RowFolder]): Holds arrays beyond this training, in place of the temporary file.
    """

    built_from = ("settings",)

    def __init__(self, settings: CacheSettings, folder: RowFolder | None = None) -> None:
        self.settings, self.folder = settings, folder
        self.used = self.used_on_disk = 0
        self._in_memory: dict[bytes, Floats] = {}
        self._on_disk: dict[bytes, tuple[int, tuple[int, ...]]] = {}
        self._file: IO[bytes] | None = None
        self._is_full = False
        self._process = os.getpid()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._on_disk)

    def get(self, key: bytes) -> Floats | None:
        """RETURNS (Optional[FloatsXd]): The array, float32, which must not be changed; None where it is missing."""
        found = self._in_memory.get(key)
        if found is None and key in self._on_disk:
            with self._lock:
                found = self._read(*self._on_disk[key])
        if found is None and self.folder is not None:
            found = self.folder.get(key)
            if found is not None:
                self._put(key, found)
        return None if found is None else found.astype(numpy.float32, copy=False)

    def gather(self, keys: Sequence[bytes], make: Callable[[list[int]], Sequence[Floats]]) -> list[Floats]:
        """Get arrays, and compute and keep those that are missing.

        make (Callable[[List[int]], Sequence[FloatsXd]]): Computes arrays from the indices of the missing keys.
        RETURNS (List[FloatsXd]): For each key, rounded to the precision of the settings, whether it was cached or not.
        """
        found = {key: array for key in keys if (array := self.get(key)) is not None}
        lacking = {key: i for i, key in enumerate(keys) if key not in found}
        made = make(list(lacking.values())) if lacking else ()
        for key, array in zip(lacking, made, strict=True):
            kept = array.astype(self.settings.dtype)  # A copy: a slice would keep its whole batch alive.
            self._put(key, kept)
            if self.folder is not None:
                self.folder.put(key, kept)
            found[key] = kept.astype(numpy.float32, copy=False)
        return [found[key] for key in keys]

    def _put(self, key: bytes, kept: Floats) -> None:
        if self.used + kept.nbytes <= self.settings.memory_mb * 2**20:
            self._in_memory[key] = kept
            self.used += kept.nbytes
        elif (
            self.folder is None
            and self.used_on_disk + kept.nbytes <= self.settings.disk_mb * 2**20
            and not self._is_full
        ):
            with self._lock:
                self._write(key, kept)

    def _write(self, key: bytes, kept: Floats) -> None:
        if self._process != os.getpid():
            return  # The file and its position are the parent's.
        try:
            self._file = self._file or tempfile.TemporaryFile(prefix="spacy-transfer-")
            self._file.seek(self.used_on_disk)
            self._file.write(to_numpy(kept).tobytes())
            self._file.flush()
        except OSError as error:
            self._is_full = True
            warnings.warn(Warnings.W450.format(folder=tempfile.gettempdir(), error=error), stacklevel=2)
            return
        self._on_disk[key] = (self.used_on_disk, kept.shape)
        self.used_on_disk += kept.nbytes

    def _read(self, begin: int, shape: tuple[int, ...]) -> Floats | None:
        if self._file is None or self._process != os.getpid():
            return None
        dtype = numpy.dtype(self.settings.dtype)
        self._file.seek(begin)
        data = self._file.read(int(numpy.prod(shape)) * dtype.itemsize)
        return numpy.frombuffer(data, dtype).reshape(shape)
