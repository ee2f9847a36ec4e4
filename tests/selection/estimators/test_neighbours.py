import numpy
import pytest

from spacy_transfer.selection.estimators import neighbours
from spacy_transfer.selection.estimators.estimate import Targets, check
from spacy_transfer.selection.estimators.measures import compare

from .test_estimate import drawn, score


def slow_predictions(rows, truths, groups, k, metric, weights):
    predicted = []
    for row, group in zip(rows, groups, strict=True):
        others = [j for j in range(len(rows)) if groups[j] != group]
        if metric == "cosine":
            lengths = numpy.linalg.norm(rows, axis=1)
            far = {j: 1 - row @ rows[j] / (numpy.linalg.norm(row) * lengths[j]) for j in others}
        else:
            far = {j: numpy.sqrt(((row - rows[j]) ** 2).sum()) for j in others}
        nearest = sorted(others, key=far.__getitem__)[:k]
        shares = [1.0 if weights == "uniform" else 1 / far[j] for j in nearest]
        predicted.append(sum(s * truths[j] for s, j in zip(shares, nearest, strict=True)) / sum(shares))
    return numpy.array(predicted)


@pytest.mark.parametrize("kind", ["classes", "multilabel", "numbers"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("weights", ["distance", "uniform"])
@pytest.mark.parametrize("k", [1, 4, 28])
def test_predictions_are_those_of_a_plain_loop(monkeypatch, kind, metric, weights, k):
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    rows, values = drawn(kind)
    rows[:, 0] += 5  # Not around 0.
    groups = numpy.arange(len(rows)) // 4
    checked = check(rows, Targets(kind, values, groups))
    slow = slow_predictions(checked.rows, checked.truths, groups, k, metric, weights)
    own = score("NearestNeighbours", rows, kind, values, groups, k=k, metric=metric, weights=weights)
    right = compare(checked, slow, "auto")
    assert own.score == pytest.approx(right.score, abs=1e-9)
    assert numpy.allclose(own.parts, right.parts, atol=1e-9)


def test_rows_of_the_same_document_are_left_out():
    """Pairs of equal rows with equal targets: each knows the other, but for that."""
    rows, values = (numpy.repeat(part, 2, axis=0) for part in drawn("classes", 31, seed=1))
    values = numpy.repeat(numpy.random.default_rng(0).integers(3, size=31), 2)
    assert score("NearestNeighbours", rows, "classes", values, k=1, measure="accuracy").score == 1.0
    assert (
        score("NearestNeighbours", rows, "classes", values, numpy.arange(62) // 2, k=1, measure="accuracy").score < 0.8
    )


def test_fewer_neighbours_than_k_and_rows_of_zeros():
    rows, values = drawn("classes", 5)
    rows[0] = 0
    few = score("NearestNeighbours", rows, "classes", values, k=4)
    assert score("NearestNeighbours", rows, "classes", values, k=50).score == few.score
