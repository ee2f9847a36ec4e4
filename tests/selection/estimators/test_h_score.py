import numpy
import pytest

from .test_estimate import drawn, score


def slow_h_score(rows, values, covariance):
    """From the covariance of the means of the classes."""
    centered, between = rows - rows.mean(axis=0), 0.0
    for label in numpy.unique(values):
        mean = centered[values == label].mean(axis=0)
        between = between + (values == label).sum() * numpy.outer(mean, mean)
    return numpy.trace(numpy.linalg.inv(covariance) @ between) / (len(rows) - 1)


@pytest.mark.parametrize("width", [6, 100], ids=["long", "wide"])
def test_with_the_shrinkage_of_scikit_learn(width):
    ledoit_wolf = pytest.importorskip("sklearn.covariance").ledoit_wolf
    rows, values = drawn("classes", width=width)
    covariance, amount = ledoit_wolf(rows.astype("d"))
    assert 0 < amount < 1
    slow = (1 - amount) * slow_h_score(rows.astype("d"), values, covariance)
    assert score("HScore", rows, "classes", values).score == pytest.approx(slow, abs=1e-8)


def test_without_shrinkage():
    rows, values = drawn("classes")
    exact = rows.astype("d")
    slow = slow_h_score(exact, values, numpy.cov(exact.T, bias=True))
    assert score("HScore", rows, "classes", values, shrink=False).score == pytest.approx(slow, abs=1e-8)
    # A column twice, or one that never varies, says no more.
    more = numpy.concatenate([rows, rows[:, :1], numpy.ones_like(rows[:, :1])], axis=1)
    assert score("HScore", more, "classes", values, shrink=False).score == pytest.approx(slow, abs=1e-8)


@pytest.mark.parametrize("kind", ["multilabel", "numbers"])
def test_others_are_sums_of_squared_canonical_correlations(kind):
    rows, values = drawn(kind)
    X, Y = (part - part.mean(axis=0) for part in (rows.astype("d"), values.astype("d")))
    (own, _), (other, _) = numpy.linalg.qr(X), numpy.linalg.qr(Y)
    correlations = numpy.linalg.svd(own.T @ other)[1]
    slow = (correlations**2).sum() * len(rows) / (len(rows) - 1)
    assert score("HScore", rows, kind, values, shrink=False).score == pytest.approx(slow, abs=1e-8)


def test_rows_without_shape_are_drawn_to_the_identity_at_most():
    """The formula gives more than 1 here, or an infinite share."""
    values = numpy.arange(4) % 2
    assert score("HScore", numpy.ones((4, 3), "f"), "classes", values).score == 0.0
    rows = numpy.concatenate([numpy.eye(2), -numpy.eye(2)]).astype("f")
    assert numpy.isfinite(score("HScore", rows, "classes", values).score)
