"""Packed tokens against sorting, and transitions part by part."""

import numpy
from hypothesis import given
from hypothesis import strategies as st

from spacy_transfer.heads.tagging.packing import Packing, Transitions


@given(st.lists(st.integers(0, 6), max_size=6))
def test_tokens_are_sorted_by_position_then_by_length(lengths):
    packing = Packing(numpy.array(lengths, dtype=int))
    tokens = [(i, at) for i, n in enumerate(lengths) for at in range(n)]
    order = sorted(range(len(tokens)), key=lambda t: (tokens[t][1], -lengths[tokens[t][0]]))
    assert packing.order.tolist() == order
    assert packing.place[order].tolist() == list(range(len(tokens)))
    assert (packing.n_tokens, packing.sequence.tolist()) == (len(tokens), [i for i, _ in tokens])
    assert packing.position.tolist() == [at for _, at in tokens]
    for position, (begin, end) in enumerate(packing.slices):
        assert {tokens[t][1] for t in order[begin:end]} == {position}
    assert sum(end - begin for begin, end in packing.slices) == len(tokens)
    last = [
        [place for place in range(begin, end) if tokens[order[place]][1] == lengths[tokens[order[place]][0]] - 1]
        for begin, end in packing.slices
    ]
    assert [list(range(begin, end)) for begin, end in packing.last_tokens()] == last


def test_transitions():
    rng = numpy.random.default_rng(0)
    one, other = (Transitions(rng.normal(size=2), rng.normal(size=(2, 2)), rng.normal(size=2)) for _ in range(2))
    allowed = other.map(lambda part: part > 0.0)
    for name in ("start", "matrix", "end"):
        first, second = getattr(one, name), getattr(other, name)
        numpy.testing.assert_array_equal(getattr(one.plus(other), name), first + second)
        numpy.testing.assert_array_equal(getattr(allowed, name), second > 0.0)
        wanted = numpy.full(first.shape, -numpy.inf)
        wanted[second > 0.0] = first[second > 0.0]
        numpy.testing.assert_array_equal(getattr(one.where(allowed), name), wanted)
    assert one.map(lambda part: part.astype("f")).where(allowed).matrix.dtype == "float64"
