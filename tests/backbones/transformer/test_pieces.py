"""Windows in one array, against loops."""

import numpy
from hypothesis import given
from hypothesis import strategies as st

from spacy_transfer.backbones.transformer.pieces import Pieces, ranges
from spacy_transfer.backbones.transformer.windows import cut_windows


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6))))
def test_ranges(pairs):
    begins, lengths = numpy.array([pair[0] for pair in pairs], int), numpy.array([pair[1] for pair in pairs], int)
    assert ranges(begins, lengths).tolist() == [i for begin, n in pairs for i in range(begin, begin + n)]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.lists(st.integers(90, 99), max_size=2), st.booleans())
def test_windows_with_special_tokens(counts, suffix, read_empty):
    """Each window: what stands before it, its pieces, what stands after it; each piece is found in a window."""
    windows = cut_windows(numpy.array(counts), 6, 2, read_empty=read_empty)
    pieces = Pieces(numpy.arange(sum(counts)), windows, None, len(counts))
    ids, begins, sizes = pieces.joined([101, 102], suffix)
    wanted = [
        [101, 102, *range(start, start + n), *suffix] for start, n in zip(windows.start, windows.length, strict=True)
    ]
    assert [ids[a : a + n].tolist() for a, n in zip(begins, sizes, strict=True)] == wanted
    assert len(ids) == sizes.sum()
    assert ids[pieces.states(begins, 2)].tolist() == pieces.ids.tolist()
