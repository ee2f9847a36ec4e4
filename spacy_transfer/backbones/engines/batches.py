"""Windows as the arrays that an exported encoder reads, and its states as rows. NumPy only."""

import numpy
from numpy.typing import NDArray

from ...types import Floats

Feed = dict[str, NDArray]
"""The inputs of one run, by name."""
_OUTSIDE = -1e4  # Added to the scores of padding: its share is zero in float32.


def feed(ids: NDArray[numpy.int64], sizes: NDArray[numpy.int64], first_position: int) -> Feed:
    """The inputs of one run: pieces without padding, and for attention the places of the pieces in a rectangle.

    ids (NDArray[int64]): Word pieces of all windows, special tokens included, shape (n,).
    sizes (NDArray[int64]): Pieces of each window, shape (n_windows,).
    first_position (int): The number of a window's first position.
    RETURNS (Dict[str, NDArray]): `ids` and `positions`, shape (n,); `place`, where each piece is in the flat rectangle,
        shape (n,); `piece`, which piece is at each place, shape (n_windows * longest,); `mask`, what is added to
        the scores of attention, shape (n_windows, 1, 1, longest).
    """
    longest, count = int(sizes.max()), len(sizes)
    inside = numpy.arange(len(ids)) - numpy.repeat(numpy.cumsum(sizes) - sizes, sizes)
    place = inside + numpy.repeat(numpy.arange(count) * longest, sizes)
    piece = numpy.zeros(count * longest, dtype=numpy.int64)
    piece[place] = numpy.arange(len(ids))
    is_outside = numpy.arange(longest)[None] >= sizes[:, None]
    mask = (is_outside * numpy.float32(_OUTSIDE)).astype(numpy.float32)[:, None, None]
    return {"ids": ids, "positions": inside + first_position, "place": place, "piece": piece, "mask": mask}


def mean_rows(states: Floats, indices: NDArray[numpy.int64], offsets: NDArray[numpy.int64]) -> Floats:
    """Means of runs of rows.

    states (Array): Shape (n, width).
    indices (NDArray[int64]): Rows of the runs, run after run.
    offsets (NDArray[int64]): Where each run begins in `indices`, ascending.
    RETURNS (Array): float32, shape (n_runs, width); zeros for an empty run.
    """
    counts = numpy.diff(numpy.append(offsets, len(indices)))
    rows = numpy.zeros((len(offsets), states.shape[1]), dtype=numpy.float32)
    has_rows = counts > 0
    if has_rows.any():
        # Empty runs begin where the next run does: without them all runs have rows, as reduceat wants it.
        sums = numpy.add.reduceat(states[indices], offsets[has_rows], axis=0)
        rows[has_rows] = sums / counts[has_rows, None]
    return rows
