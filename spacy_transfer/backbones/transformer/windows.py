"""Docs of any length -> overlapping windows of word pieces, and batches of windows. NumPy only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray


@dataclass(frozen=True)
class Windows:
    """Windows over the word pieces of a batch of docs, the pieces of all docs laid end to end.

    start (NDArray[int64]): First piece of every window, shape (n_windows,).
    length (NDArray[int64]): How many pieces every window has, special tokens not counted, shape (n_windows,).
    doc (NDArray[int64]): The doc every window belongs to, shape (n_windows,).
    owner (NDArray[int64]): For every piece the window it takes its state from, shape (n_pieces,).
    """

    start: NDArray[numpy.int64]
    length: NDArray[numpy.int64]
    doc: NDArray[numpy.int64]
    owner: NDArray[numpy.int64]


def cut_windows(lengths: NDArray[numpy.int64], budget: int, overlap: int, *, read_empty: bool = False) -> Windows:
    """Cut docs into as few windows as cover every piece and overlap by at least `overlap` pieces.

    The windows of a doc have one size and lie evenly spread, so that none is a stump. A piece belongs to
    the window in which it is farthest from an edge, which is the one whose middle is nearest.

    lengths (NDArray[int64]): How many pieces each doc has, shape (n_docs,).
    budget (int): The most pieces a window holds (special tokens not counted).
    overlap (int): The least number of pieces that neighbouring windows share, < budget.
    read_empty (bool): Give docs without pieces a window of length 0, for special tokens.
    RETURNS (Windows): The windows, in the order of the docs.
    """
    lengths = numpy.asarray(lengths, dtype=numpy.int64)
    first_piece = numpy.concatenate(([0], numpy.cumsum(lengths)[:-1])) if len(lengths) else lengths
    stride = budget - overlap
    counts = 1 + numpy.maximum(0, -(-(lengths - budget) // stride))
    counts[lengths == 0] = int(read_empty)
    doc = numpy.repeat(numpy.arange(len(lengths)), counts)
    size = numpy.minimum(lengths[doc], budget)
    # The number of the window inside its doc, without a loop: position minus the position of the doc's first.
    number = numpy.arange(len(doc)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    steps = numpy.maximum(counts[doc] - 1, 1)
    local = (number * (lengths[doc] - size)) // steps
    start = first_piece[doc] + local
    owner = _owners(start, size, doc, int(lengths.sum()))
    return Windows(start, size, doc, owner)


def _owners(
    start: NDArray[numpy.int64], size: NDArray[numpy.int64], doc: NDArray[numpy.int64], n_pieces: int
) -> NDArray[numpy.int64]:
    """Each window owns the pieces from the midpoint of its overlap with the last window of the same doc."""
    if not len(start):
        return numpy.zeros((n_pieces,), dtype=numpy.int64)
    begins = start.copy()
    same = doc[1:] == doc[:-1]
    # The last piece p that stays with the earlier window has end - 1 - p >= p - start of the later one.
    middle = (start[:-1] + size[:-1] - 1 + start[1:]) // 2 + 1
    begins[1:] = numpy.where(same, middle, start[1:])
    return numpy.searchsorted(begins, numpy.arange(n_pieces), side="right") - 1


def batch_windows(
    sizes: NDArray[numpy.int64], max_items: int, padded: bool, equal: bool = False
) -> Iterator[NDArray[numpy.int64]]:
    """Group windows of similar size, longest first, so that the largest batch is met at once.

    sizes (NDArray[int64]): Pieces in every window, special tokens included, shape (n_windows,).
    padded (bool): Whether padding counts (True where a batch is a rectangle, False where it is packed).
    equal (bool): Let only windows of one size into a batch.
    YIELDS (NDArray[int64]): Indices of the windows of one batch, sorted by size, largest first.
    """
    order = numpy.argsort(-sizes, kind="stable")
    begin = 0
    while begin < len(order):
        ordered = sizes[order[begin:]]
        if padded:
            most = max(1, max_items // int(ordered[0]))
        else:
            most = max(1, int(numpy.searchsorted(numpy.cumsum(ordered), max_items, side="right")))
        if equal:
            most = min(most, int((ordered == ordered[0]).sum()))
        yield order[begin : begin + most]
        begin += most
