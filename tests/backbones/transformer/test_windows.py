"""Windows: cover, overlap, ownership; compared with a slow, obvious second way."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.backbones.transformer.windows import batch_windows, cut_windows


def slow_owner(windows, piece, doc):
    """The window of the doc in which the piece is farthest from an edge; the earlier one of two."""
    best, most = None, -1
    for number, (start, length, of) in enumerate(zip(windows.start, windows.length, windows.doc, strict=True)):
        if of == doc and start <= piece < start + length:
            context = min(piece - start, start + length - 1 - piece)
            if context > most:
                best, most = number, context
    return best


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 90), max_size=6), st.integers(2, 30), st.data())
def test_every_piece_is_covered_and_read_where_it_has_most_context(lengths, budget, data):
    overlap = data.draw(st.integers(0, budget - 1))
    windows = cut_windows(numpy.array(lengths, dtype=numpy.int64), budget, overlap)
    assert len(windows.owner) == sum(lengths)
    assert (windows.length <= budget).all()
    piece = 0
    for doc, length in enumerate(lengths):
        mine = windows.doc == doc
        assert mine.sum() == (0 if length == 0 else max(1, -(-(length - overlap) // (budget - overlap))))
        starts, ends = windows.start[mine], (windows.start + windows.length)[mine]
        assert (ends[:-1] - starts[1:] >= overlap).all()
        for _ in range(length):
            assert windows.owner[piece] == slow_owner(windows, piece, doc)
            piece += 1


@pytest.mark.parametrize("padded", [True, False])
def test_batches_hold_every_window_once_and_keep_the_budget(padded):
    sizes = numpy.random.default_rng(0).integers(3, 40, size=50)
    seen = []
    for batch in batch_windows(sizes, 100, padded):
        seen += batch.tolist()
        used = sizes[batch].max() * len(batch) if padded else sizes[batch].sum()
        assert used <= 100
        assert (numpy.diff(sizes[batch]) <= 0).all()
    assert sorted(seen) == list(range(50))


def test_windows_for_docs_without_pieces():
    """One of length 0 where it is asked for; no piece is owned by it, and all others are as they were."""
    lengths = numpy.array([0, 5, 0, 0, 30, 0])
    plain, with_empty = (cut_windows(lengths, 12, 4, read_empty=flag) for flag in (False, True))
    kept = with_empty.length > 0
    for name in ("start", "length", "doc"):
        assert getattr(with_empty, name)[kept].tolist() == getattr(plain, name).tolist()
    assert with_empty.doc[~kept].tolist() == [0, 2, 3, 5]
    assert with_empty.doc[with_empty.owner].tolist() == [1] * 5 + [4] * 30
    assert numpy.flatnonzero(kept)[plain.owner].tolist() == with_empty.owner.tolist()
