"""LogME.v1: the evidence for a linear model of the targets."""

import math

import numpy

from ...checks import COUNT, POSITIVE, require
from ...types import Floats
from .estimate import Estimate, Estimator, Targets, check

_NOISE = 1e-12
"""Least share of a target's squares that counts as noise: a perfect fit would have infinite evidence."""


def build_logme_v1(*, center: bool = False, tolerance: float = 1e-8, max_iterations: int = 1000) -> Estimator:
    """The logarithm of the maximum evidence, for each row (You et al. 2021, "LogME: Practical Assessment of Pre-trained
    Models for Transfer Learning"): how likely the targets are under a Bayesian linear regression on the rows, with the
    most likely precisions of weights and noise. Classes and labels are targets of 0 and 1; the score is the mean over
    all of them. The precisions come from a fixed point in the basis of the rows' singular vectors (You et al. 2022).

    center (bool): Subtract the means of rows and targets first, as a head with a bias would. The paper does not.
    tolerance (float): The search ends when the ratio of the precisions changes by a smaller share.
    max_iterations (int): Of the search.
    RETURNS (Callable[[Floats, Targets], Estimate]): The estimator. Its score has no parts.
    """
    require("estimator", POSITIVE, tolerance=tolerance)
    require("estimator", COUNT, max_iterations=max_iterations)

    def estimate(rows: Floats, targets: Targets) -> Estimate:
        checked = check(rows, targets)
        parts = checked.rows, checked.truths
        states, truths = (part - part.mean(axis=0) for part in parts) if center else parts
        return Estimate(float(_log_evidence(states, truths, tolerance, max_iterations).mean()))

    return estimate


def _log_evidence(rows: Floats, truths: Floats, tolerance: float, max_iterations: int) -> Floats:
    """RETURNS (Floats): The maximum, divided by the number of rows, for every column of the truths."""
    (n, width), total = rows.shape, (truths**2).sum(axis=0)
    sigma, squares = _project(rows, truths)
    missed = numpy.maximum(total - squares.sum(axis=0), 0.0)
    alpha, beta = numpy.ones(truths.shape[1]), numpy.ones(truths.shape[1])
    for _ in range(max_iterations):
        tau = numpy.clip(alpha / beta, 1e-100, 1e100)
        # What the data decide of each axis, and what the prior does.
        data, prior = sigma / (sigma + tau), tau / (sigma + tau)
        weights = (sigma * squares / (sigma + tau) ** 2).sum(axis=0)
        errors = numpy.maximum((squares * prior**2).sum(axis=0) + missed, _NOISE * total)
        alpha = data.sum(axis=0) / numpy.maximum(weights, 1e-300)
        beta = (n - len(sigma) + prior.sum(axis=0)) / errors
        if (numpy.abs(alpha / beta / tau - 1.0) <= tolerance).all():
            break
    alpha = numpy.maximum(alpha, 1e-300)
    # The axes that the rows do not reach add as much to the first term as to the second.
    volume = len(sigma) * numpy.log(alpha) - numpy.log(alpha + beta * sigma).sum(axis=0)
    fit = n * numpy.log(beta) - beta * errors - alpha * weights - n * math.log(2 * math.pi)
    evidence: Floats = (volume + fit) / (2 * n)
    return evidence


def _project(rows: Floats, truths: Floats) -> tuple[Floats, Floats]:
    """Squared singular values of the rows, shape (rank, 1), and squares of the truths along the left singular vectors,
    shape (rank, n_columns). The factors of a QR decomposition are smaller than the rows."""
    is_long = rows.shape[0] > rows.shape[1]
    basis, factor = numpy.linalg.qr(rows) if is_long else (numpy.eye(len(rows)), rows)
    left, values, _ = numpy.linalg.svd(factor, full_matrices=False)
    kept = values > values.max() * max(rows.shape) * numpy.finfo(numpy.float64).eps
    along = left[:, kept].T @ (basis.T @ truths)
    return values[kept, None] ** 2, along**2
