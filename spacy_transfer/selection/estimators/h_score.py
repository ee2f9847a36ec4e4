"""HScore.v1: how much of the rows' variance the targets explain."""

import numpy

from ...types import Floats
from .estimate import Estimate, Estimator, Targets, check


def build_h_score_v1(*, shrink: bool = True) -> Estimator:
    """The H-score (Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer Learning"):
    the trace of inv(covariance of the rows) @ (covariance of the means of the classes), with the covariance drawn to a
    multiple of the identity (Ibrahim et al. 2022, "Newer is not always better"; Ledoit and Wolf 2004). For several
    labels and for numbers, the means are those that a linear function of the targets predicts. Without shrinkage the
    score is the sum of the squared canonical correlations then.

    shrink (bool): By default. Without it, an eigenvalue of 0 is left out, and fewer rows than columns say nothing.
    RETURNS (Callable[[Floats, Targets], Estimate]): The estimator. Its score has no parts.
    """

    def estimate(rows: Floats, targets: Targets) -> Estimate:
        checked = check(rows, targets)
        centered = checked.rows - checked.rows.mean(axis=0)
        return Estimate(_h_score(centered, checked.truths - checked.truths.mean(axis=0), shrink))

    return estimate


def _h_score(rows: Floats, truths: Floats, shrink: bool) -> float:
    """rows (Floats), truths (Floats): Less their means."""
    covariance = rows.T @ rows / len(rows)
    amount = _shrinkage(rows, covariance) if shrink else 0.0
    values, axes = numpy.linalg.eigh(covariance)
    values = (1 - amount) * values + amount * values.mean()
    kept = values > values.max() * len(values) * numpy.finfo(numpy.float64).eps
    left, sizes, _ = numpy.linalg.svd(truths, full_matrices=False)
    left = left[:, sizes > sizes.max() * max(truths.shape) * numpy.finfo(numpy.float64).eps]
    explained = (axes.T @ (rows.T @ left)) ** 2
    # Between classes divided by n - 1, and within by n, as in the published code.
    return float((1 - amount) * (explained[kept] / values[kept, None]).sum() / (len(rows) - 1))


def _shrinkage(rows: Floats, covariance: Floats) -> float:
    """The best share of the identity (Ledoit and Wolf 2004), from 0 to 1."""
    n, width = rows.shape
    square = float((covariance**2).sum())
    # The squared distances from the covariance: of that of a row, on average, and of the multiple of the identity.
    noise = (float(((rows**2).sum(axis=1) ** 2).sum()) / n - square) / n
    spread = square - float(numpy.trace(covariance)) ** 2 / width
    return 0.0 if noise <= 0 else min(noise / max(spread, noise), 1.0)
