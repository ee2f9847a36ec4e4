"""Which words are drawn, how many, and what becomes of them."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.pretraining.objectives.word_masks import Masking


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.floats(0.01, 1.0), st.integers(0, 99))
def test_each_doc_gives_its_share(lengths, share, seed):
    doc_of_word = numpy.repeat(numpy.arange(len(lengths)), lengths)
    found = Masking(share, 0.1, 0.1).draw(doc_of_word, numpy.random.default_rng(seed))
    assert len(set(found.words)) == len(found.words) and (numpy.diff(found.words) > 0).all()
    for doc, length in enumerate(lengths):
        n_drawn = (doc_of_word[found.words] == doc).sum()
        assert n_drawn == (max(1, round(length * share)) if length else 0)
    assert not (found.is_random & found.is_kept).any()


def test_fates_have_their_shares():
    found = Masking(0.5, 0.2, 0.1).draw(numpy.zeros(40000, dtype=int), numpy.random.default_rng(0))
    assert abs(found.is_random.mean() - 0.2) < 0.01 and abs(found.is_kept.mean() - 0.1) < 0.01


def test_draws_are_uniform_and_others_each_time():
    draw, counts = numpy.random.default_rng(0), numpy.zeros(20)
    for _ in range(2000):
        counts[Masking(0.15, 0.1, 0.1).draw(numpy.zeros(20, dtype=int), draw).words] += 1
    assert abs(counts / 2000 - 0.15).max() < 0.03


@pytest.mark.parametrize("given", [(0.0, 0.1, 0.1), (0.15, 0.6, 0.5)])
def test_impossible_shares(given):
    with pytest.raises(ValueError, match="T826"):
        Masking(*given)
