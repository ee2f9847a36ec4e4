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
    sigma, squares, missed = _project(rows, truths)

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


def _project(rows: Floats, truths: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared singular values of the rows, shape (rank, 1), squares of the truths along the left singular vectors,
    shape (rank, n_columns), and squares of what is left of the truths, shape (n_columns,)."""
    import torch

    both, width = torch.as_tensor(numpy.concatenate([rows, truths], axis=1)), rows.shape[1]
    # Of a QR decomposition the triangle is enough, which is smaller than the rows.
    triangle = torch.linalg.qr(both, mode="r").R if len(both) > both.shape[1] else both
    left, values, _ = torch.linalg.svd(triangle[:, :width], full_matrices=False)
    left = left[:, values > values.max() * max(rows.shape) * torch.finfo(torch.float64).eps]
    along = left.T @ triangle[:, width:]
    missed = (triangle[:, width:] - left @ along).square().sum(0)
    return values[: left.shape[1], None].square().numpy(), along.square().numpy(), missed.numpy()
