"""Measures of agreement between numbers: Pearson's and Spearman's correlation, mean absolute error. NumPy only."""

import math
from collections.abc import Sequence

import numpy
from numpy.typing import ArrayLike, NDArray


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """Pearson's correlation.

    RETURNS (float): -1 to 1. Where one side is constant nothing can correlate with it: 0. NaN of less than 2 pairs, and
        where a number is not finite.
    """
    x, y = (numpy.asarray(values, dtype=numpy.float64) for values in (first, second))
    if len(x) < 2 or not numpy.isfinite([x, y]).all():
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    # Scaled first, so that the squares of tiny or huge numbers do not vanish or overflow.
    size_x, size_y = numpy.abs(x).max(), numpy.abs(y).max()
    if not (_varies(first, size_x) and _varies(second, size_y)):
        return 0.0
    x, y = x / size_x, y / size_y
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's correlation: Pearson's of the ranks (Spearman 1904), ties by average ranks."""
    return pearson(average_ranks(first), average_ranks(second))


def average_ranks(values: ArrayLike) -> NDArray[numpy.float64]:
    """Ranks from 1 up. Equal numbers share the mean of the ranks that they take together.

    RETURNS (NDArray[float64]): Their ranks, shape (n_values,). A NaN has no rank: NaN. Sorting would put it first.
    """
    given = numpy.asarray(values, dtype=numpy.float64)
    _, which, counts = numpy.unique(given, return_inverse=True, return_counts=True)
    last = numpy.cumsum(counts)
    return numpy.where(numpy.isnan(given), numpy.nan, (last - (counts - 1) / 2.0)[which])


def mean_absolute_error(first: Sequence[float], second: Sequence[float]) -> float:
    """The mean of the distances.

    RETURNS (float): In their unit. NaN of no pairs.
    """
    x, y = (numpy.asarray(values, dtype=numpy.float64) for values in (first, second))
    return float(numpy.abs(x - y).mean()) if len(x) else math.nan


def _varies(values: ArrayLike, spread: float) -> bool:
    """A mean is rounded: what differs from it by no more than that is constant."""
    return bool(spread > 1e-12 * float(numpy.abs(numpy.asarray(values, dtype=numpy.float64)).max()))
