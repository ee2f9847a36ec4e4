"""Windows as arrays for an exported encoder, and rows from its states: against loops."""

import numpy
import pytest

from spacy_transfer.backbones.engines.batches import feed, mean_rows


def test_the_rectangle_holds_every_piece_once():
    sizes, ids = numpy.array([3, 2, 2]), numpy.arange(10, 17)
    found = feed(ids, sizes, 2)
    assert found["positions"].tolist() == [2, 3, 4, 2, 3, 2, 3]
    rectangle = ids[found["piece"]].reshape(3, 3)
    inside = found["mask"].reshape(3, 3) == 0
    assert [row[kept].tolist() for row, kept in zip(rectangle, inside, strict=True)] == [
        [10, 11, 12],
        [13, 14],
        [15, 16],
    ]
    assert rectangle.reshape(-1)[found["place"]].tolist() == ids.tolist()


@pytest.mark.parametrize("lengths", [[2, 0, 3, 0], [0, 0], [], [1]])
def test_means_of_runs(lengths):
    random = numpy.random.default_rng(0)
    states = random.normal(size=(6, 4)).astype("f")
    indices = random.integers(6, size=sum(lengths))
    offsets = numpy.cumsum([0, *lengths])[:-1][: len(lengths)]
    found = mean_rows(states, indices, offsets)
    assert found.shape == (len(lengths), 4)
    for row, offset, length in zip(found, offsets, lengths, strict=True):
        run = states[indices[offset : offset + length]]
        numpy.testing.assert_allclose(row, run.mean(axis=0) if length else numpy.zeros(4), atol=1e-6)
