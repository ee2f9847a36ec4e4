"""Keeping resident memory from growing while documents stream through; `benchmarks/memory.py` measures it.

A pass of the encoder frees temporaries of megabytes, while the vocabulary goes on taking small pieces for new words
between them. glibc keeps what is free among such pieces, and the heap grows for as long as new words come. Most of the
temporaries stay in the buffers of `buffers.py`; what the rest leaves behind is asked for now and then, and no more
often, since pages that were given back have to be taken anew.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


class FreeMemory:
    """Gives free memory back to the system after every so many word pieces."""

    def __init__(self, every: int = 32_768) -> None:
        self.every = every
        self._pieces = 0

    def count(self, n_pieces: int) -> None:
        """Take note of a batch."""
        self._pieces += n_pieces
        if self._pieces >= self.every:
            self._pieces = 0
            trim = _malloc_trim()
            if trim is not None:
                trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's; other C libraries have none, and do without."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return None
