import numpy
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize_scalar

from .test_estimate import drawn, score


def log_evidence(F, y, log_ratio):
    """Of a linear model, by the inverse and the determinant of the covariance of the targets, for the ratio of the
    precisions of weights and noise. The most likely precision of the noise follows from it."""
    covariance = numpy.eye(len(F)) + F @ F.T / numpy.exp(log_ratio)
    variance = y @ numpy.linalg.inv(covariance) @ y / len(F)
    return -0.5 * (numpy.log(2 * numpy.pi * variance) + numpy.linalg.slogdet(covariance)[1] / len(F) + 1)


def highest(F, y):
    """The best of a grid, and then between its neighbours."""
    grid = numpy.linspace(-20, 30, 101)
    best = grid[numpy.argmax([log_evidence(F, y, x) for x in grid])]
    return -minimize_scalar(
        lambda x: -log_evidence(F, y, x), bounds=(best - 0.5, best + 0.5), options={"xatol": 1e-8}
    ).fun


@pytest.mark.parametrize("kind", ["classes", "multilabel", "numbers"])
@pytest.mark.parametrize("width", [6, 45], ids=["long", "wide"])
@pytest.mark.parametrize("center", [False, True])
def test_evidence_is_that_of_explicit_inverse_and_determinant(kind, width, center):
    rows, values = drawn(kind, width=width, seed=3)
    truths = numpy.eye(3)[values] if kind == "classes" else values.astype("d")
    F = rows.astype("d")
    if center:  # What contrasts between rows say: a flat prior on the bias takes the rest.
        contrasts = null_space(numpy.ones((1, len(F))))
        F, truths = contrasts.T @ F, contrasts.T @ truths
    slow = numpy.mean([highest(F, y) for y in truths.T])
    assert score("LogME", rows, kind, values, center=center).score == pytest.approx(slow, abs=1e-8)


def test_means_do_not_matter_where_they_are_subtracted():
    rows, values = drawn("numbers")
    moved = rows + 5.0, "numbers", values + 10.0
    assert score("LogME", *moved, center=True).score == pytest.approx(
        score("LogME", rows, "numbers", values, center=True).score, abs=1e-5
    )
    assert score("LogME", *moved).score != pytest.approx(score("LogME", rows, "numbers", values).score, abs=0.1)


def test_a_perfect_fit_is_finite_and_higher():
    rows, values = drawn("numbers")
    perfect = rows.astype("d") @ numpy.arange(1.0, 7.0)
    near = perfect + numpy.random.default_rng(0).normal(size=len(perfect)) * 0.1
    scores = [score("LogME", rows, "numbers", y).score for y in (perfect, near)]
    assert numpy.isfinite(scores).all() and scores[0] > scores[1]
