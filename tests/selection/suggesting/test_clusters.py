"""Clusters, against brute force."""

import numpy
import pytest

from spacy_transfer.selection.suggesting.clusters import k_means, spread

GENERATOR = numpy.random.default_rng(0)
BLOBS = numpy.repeat(10 * numpy.eye(4), 8, axis=0) + 0.1 * GENERATOR.normal(size=(32, 4))


@pytest.mark.parametrize("seed", range(5))
def test_a_row_of_each_blob(seed):
    assert sorted(spread(BLOBS, 4, numpy.ones(32), BLOBS[:0], seed) // 8) == [0, 1, 2, 3]


def test_blobs_with_other_rows_come_last():
    assert sorted(spread(BLOBS, 2, numpy.ones(32), BLOBS[[0, 30]], 0) // 8) == [1, 2]


def test_rows_without_weight_come_last():
    weights = numpy.zeros(32)
    weights[[3, 20, 21]] = 1.0
    assert sorted(spread(BLOBS, 3, weights, BLOBS[:0], 0)) == [3, 20, 21]


def test_equal_rows_are_drawn_once_each():
    assert sorted(spread(numpy.ones((5, 2)), 5, numpy.ones(5), numpy.ones((1, 2)), 0)) == list(range(5))


@pytest.mark.parametrize("weights", [numpy.ones(32), GENERATOR.uniform(0.1, 1.0, size=32)])
def test_clusters_are_at_rest(weights):
    clusters, central = k_means(BLOBS, 4, weights, 0)
    members = [numpy.flatnonzero(clusters == c) for c in range(4)]
    centers = [numpy.average(BLOBS[own], axis=0, weights=weights[own]) for own in members]
    for i, row in enumerate(BLOBS):
        assert clusters[i] == min(range(4), key=lambda c: ((row - centers[c]) ** 2).sum())
    for c, i in enumerate(central):
        assert i == min(members[c], key=lambda j: ((BLOBS[j] - centers[c]) ** 2).sum())


def test_equal_rows_make_one_cluster():
    clusters, central = k_means(numpy.ones((6, 2)), 3, numpy.ones(6), 0)
    assert set(clusters) == {0} and len(central) == 1


def test_chunks_change_nothing(monkeypatch):
    whole = k_means(BLOBS, 4, numpy.ones(32), 1)
    monkeypatch.setattr("spacy_transfer.selection.suggesting.clusters._CHUNK", 5)
    for part, found in zip(k_means(BLOBS, 4, numpy.ones(32), 1), whole, strict=True):
        assert part.tolist() == found.tolist()
