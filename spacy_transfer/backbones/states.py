"""States at the freezing boundary, kept between epochs: in memory up to a bound, then on disk."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Literal

import numpy
from numpy.typing import NDArray

StatesDtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class CacheSettings:
    """How much is kept, and how.

    memory_mb (int): The most megabytes in memory.
    disk_mb (int): The most megabytes in a temporary file, once memory is full.
    dtype (str): "float32", or "float16" for half the room at a precision of about 1e-3.
    """

    memory_mb: int = 0
    disk_mb: int = 0
    dtype: StatesDtype = "float32"


class StateCache:
    """States of windows, by the ids of their pieces: below the boundary nothing moves and dropout is off, so a window
    has the same states in every epoch, in whatever doc and batch it comes. When both places are full nothing more is
    admitted: over epochs every window comes round once, and dropping the least recently used would drop each one
    just before its turn.

    settings (CacheSettings): Bounds and precision.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.used = self.used_on_disk = 0
        self._in_memory: dict[bytes, NDArray] = {}
        self._on_disk: dict[bytes, tuple[int, tuple[int, int]]] = {}
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._on_disk)

    @staticmethod
    def key(ids: NDArray[numpy.int64]) -> bytes:
        """RETURNS (bytes): 16 bytes that stand for a window.

        ids (NDArray[int64]): Its pieces, special tokens included.
        """
        return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()

    def __contains__(self, key: bytes) -> bool:
        return key in self._in_memory or key in self._on_disk

    def get(self, key: bytes) -> NDArray[numpy.float32]:
        """RETURNS (NDArray[float32]): The states of a window that is here, shape (n_pieces, width).

        key (bytes): From `key`.
        """
        found = self._in_memory.get(key)
        if found is None:
            begin, shape = self._on_disk[key]
            dtype = numpy.dtype(self.settings.dtype)
            file = self._open()
            file.seek(begin)
            found = numpy.frombuffer(file.read(shape[0] * shape[1] * dtype.itemsize), dtype).reshape(shape)
        return found.astype(numpy.float32, copy=False)

    def gather(
        self,
        windows: Sequence[NDArray[numpy.int64]],
        make: Callable[[list[int]], Sequence[NDArray[numpy.float32]]],
    ) -> NDArray[numpy.float32]:
        """States of windows, laid end to end: those that are here, and the rest made at once, and kept.

        windows (Sequence[NDArray[int64]]): The pieces of each, special tokens included.
        make (Callable[[List[int]], Sequence[NDArray[float32]]]): Takes the places of the windows that are lacking, and
            gives the states of each, shape (n_pieces, width).
        RETURNS (NDArray[float32]): Shape (n_pieces of all windows, width).
        """
        keys = [self.key(ids) for ids in windows]
        lacking = [i for i, key in enumerate(keys) if key not in self]
        fresh = dict(zip(lacking, make(lacking), strict=True)) if lacking else {}
        for i, states in fresh.items():
            self.put(keys[i], states)
        return numpy.concatenate([fresh[i] if i in fresh else self.get(key) for i, key in enumerate(keys)])

    def put(self, key: bytes, states: NDArray[numpy.float32]) -> None:
        """Keep a copy, if there is room.

        key (bytes): From `key`.
        states (NDArray[float32]): Shape (n_pieces, width).
        """
        size = states.size * numpy.dtype(self.settings.dtype).itemsize
        if self.used + size <= self.settings.memory_mb * 2**20:
            self._in_memory[key] = states.astype(self.settings.dtype)
            self.used += size
        elif self.used_on_disk + size <= self.settings.disk_mb * 2**20:
            file = self._open()
            file.seek(self.used_on_disk)
            file.write(states.astype(self.settings.dtype).tobytes())
            self._on_disk[key] = (self.used_on_disk, (states.shape[0], states.shape[1]))
            self.used_on_disk += size

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="spacy-transfer-")
        return self._file
