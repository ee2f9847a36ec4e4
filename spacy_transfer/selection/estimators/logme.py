"""LogME.v1: the evidence for a linear model of the targets."""

import numpy

from ...types import Floats
from .estimate import Estimate, Estimator, Targets, check

_NOISE = 1e-12
"""Least share of a target's squares that counts as noise: a perfect fit would have infinite evidence."""


def build_logme_v1(*, center: bool = False) -> Estimator:
    """The logarithm of the maximum evidence, for each row (You et al. 2021, "LogME: Practical Assessment of Pre-trained
    Models for Transfer Learning"): how likely the targets are under a Bayesian linear regression on the rows, with the
    most likely precisions of weights and noise. Classes and labels are targets of 0 and 1; the score is the mean over
    all of them. The paper finds the precisions by a fixed point, which may need many steps where rows say little. Here
    the precision of the noise follows from the ratio of both, and the ratio is searched; the maximum is the same.

    center (bool): With a bias, as heads have one, of which all values are equally likely. The paper has none.
    RETURNS (Callable[[Floats, Targets], Estimate]): The estimator. Its score has no parts.
    """

    def estimate(rows: Floats, targets: Targets) -> Estimate:
        checked = check(rows, targets)
        states, truths, n = checked.rows, checked.truths, len(rows)
        if center:  # A dimension less: that of the bias.
            states, truths, n = states - states.mean(axis=0), truths - truths.mean(axis=0), n - 1
        return Estimate(float(_log_evidence(states, truths, n).mean()))

    return estimate


def _log_evidence(rows: Floats, truths: Floats, n: int) -> Floats:
    """RETURNS (Floats): The maximum for every column of the truths, divided by n."""
    total = (truths**2).sum(axis=0)
    sigma, squares = _project(rows, truths)
    missed = total - squares.sum(axis=0)
    missed[missed < len(rows) * numpy.finfo(numpy.float64).eps * total] = 0.0  # Nothing but rounding.

    def at(log_ratio: Floats) -> Floats:
        """For ratios of the precisions, weights to noise: one for each column, or one for all."""
        ratio = numpy.exp(log_ratio)
        errors = missed + (ratio / (sigma + ratio) * squares).sum(axis=0)
        variance = numpy.maximum(errors, _NOISE * total) / n
        volume = numpy.log1p(sigma / ratio).sum(axis=0) / n
        evidence: Floats = -0.5 * (numpy.log(2 * numpy.pi * variance) + volume + 1.0)
        return evidence

    middle, step = numpy.log(sigma.max(initial=1e-100)), 1.0
    grid = middle + numpy.arange(-40.0, 41.0, step)
    found = grid[numpy.argmax([at(ratio) for ratio in grid[:, None]], axis=0)]
    for _ in range(12):  # Down to a step of 6e-8. At the maximum the evidence changes by its square.
        near = found + step * numpy.arange(-4, 5)[:, None] / 4
        found = near[numpy.argmax([at(ratios) for ratios in near], axis=0), numpy.arange(len(found))]
        step /= 4
    return at(found)


def _project(rows: Floats, truths: Floats) -> tuple[Floats, Floats]:
    """Squared singular values of the rows, shape (rank, 1), and squares of the truths along the left singular vectors,
    shape (rank, n_columns). The factors of a QR decomposition are smaller than the rows."""
    is_long = rows.shape[0] > rows.shape[1]
    basis, factor = numpy.linalg.qr(rows) if is_long else (numpy.eye(len(rows)), rows)
    left, values, _ = numpy.linalg.svd(factor, full_matrices=False)
    kept = values > values.max(initial=0.0) * max(rows.shape) * numpy.finfo(numpy.float64).eps
    along = left[:, kept].T @ (basis.T @ truths)
    return values[kept, None] ** 2, along**2
