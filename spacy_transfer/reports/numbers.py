"""Statistics of a report: scores with confidence intervals, confusions, calibration, scores by length. NumPy only."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from ..heads.calibration import BINS, bin_of, calibration_error

Ints = NDArray[numpy.int64]
# Takes how often each doc is drawn, shape (n_docs,), and gives a score; NaN where it is not defined.
Statistic = Callable[[Ints], float]
LEVEL = 0.95
OTHER = "(other)"


@dataclass(frozen=True)
class Score:
    """A score with its interval; NaN stands for not defined.

    value (float): On the data as they are.
    how (str): "exact" for a share of docs (Clopper and Pearson), "bootstrap", or "all alike" where its draws are.
    """

    name: str
    value: float
    low: float
    high: float
    how: str = "bootstrap"

    @property
    def shown(self) -> str:
        """RETURNS (str): The score in digits."""
        if math.isnan(self.value):
            return "-"
        within = "no interval" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"
        return f"{self.value:.3f} ({within})"


def with_interval(name: str, statistic: Statistic, n_docs: int, *, resamples: int, seed: int = 0) -> Score:
    """A score and its interval. That of a `Proportion` is exact. Others have a bootstrap interval: docs are drawn with
    replacement, and the interval goes from the 2.5th to the 97.5th percentile of the scores of the draws (Efron and
    Tibshirani 1993, percentile method). Where all is right, or nothing, all draws are alike and say nothing: there the
    interval is that of a share of all or none of `n_docs`. Otherwise one doc has none.

    statistic (Callable[[NDArray[int64]], float]): The score, by how often each doc counts.
    """
    value = statistic(numpy.ones(n_docs, dtype=numpy.int64))
    if isinstance(statistic, Proportion):
        return Score(name, value, *exact_interval(int(statistic.right.sum()), n_docs), "exact")
    rng = numpy.random.default_rng(seed)
    chances = numpy.full(n_docs, 1.0 / n_docs)
    drawn = [statistic(rng.multinomial(n_docs, chances)) for _ in range(resamples)]
    known = [score for score in drawn if not math.isnan(score)]
    if not known:
        return Score(name, value, math.nan, math.nan)
    low, high = numpy.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    if low == high and value in (0.0, 1.0):
        return Score(name, value, *exact_interval(n_docs if value else 0, n_docs), "all alike")
    if n_docs == 1:
        return Score(name, value, math.nan, math.nan)
    return Score(name, value, float(low), float(high))


def exact_interval(right: int, n: int) -> tuple[float, float]:
    """The interval of a share of docs: at its ends, a result as good or as bad as this has half the chance that the
    level leaves (Clopper and Pearson 1934).

    right (int): How many of the n are right.
    """
    return _least_share(right, n), 1.0 - _least_share(n - right, n)


def _least_share(right: int, n: int) -> float:
    """RETURNS (float): The share for which so many or more have half the chance that is left, by bisection."""
    if right == 0:
        return 0.0
    low, high = 0.0, right / n
    while low < (middle := (low + high) / 2) < high:
        enough = _tail(right, n, middle) > 0.5 * (1 - LEVEL)
        low, high = (low, middle) if enough else (middle, high)
    return low


def _tail(right: int, n: int, chance: float) -> float:
    """RETURNS (float): The chance of `right` or more of n. From there on the terms fall, as chance < right / n."""
    log = math.lgamma(n + 1) - math.lgamma(right + 1) - math.lgamma(n - right + 1)
    term = math.exp(log + right * math.log(chance) + (n - right) * math.log1p(-chance))
    total, odds = term, chance / (1 - chance)
    for k in range(right, n):
        term *= (n - k) / (k + 1) * odds
        total += term
        if term <= 1e-17 * total:
            break
    return total


@dataclass(frozen=True)
class Proportion:
    """A statistic: the share of docs that are right.

    right (NDArray): 1 where right, shape (n_docs,).
    """

    right: NDArray

    def __call__(self, weights: Ints) -> float:
        """RETURNS (float): The share, by how often each doc counts."""
        return float(weights @ self.right) / float(weights.sum())


def share(hits: NDArray, total: NDArray) -> Statistic:
    """Hits among all.

    hits (NDArray), total (NDArray): Of each doc, shape (n_docs,).
    """

    def statistic(weights: Ints) -> float:
        whole = float(weights @ total)
        return float(weights @ hits) / whole if whole else math.nan

    return statistic


def micro(counts: NDArray, which: str = "f") -> Statistic:
    """Precision, recall or F1 over all labels together.

    counts (NDArray): True positives, false positives and false negatives, shape (n_docs, n_labels, 3).
    which (str): "p", "r" or "f".
    """
    flat = counts.sum(axis=1).astype(numpy.float64)

    def statistic(weights: Ints) -> float:
        tp, fp, fn = weights @ flat
        whole = {"p": tp + fp, "r": tp + fn, "f": tp + 0.5 * (fp + fn)}[which]
        return float(tp / whole) if whole else math.nan

    return statistic


def macro(counts: NDArray) -> Statistic:
    """The mean of the F1 of all labels that occur in gold or prediction.

    counts (NDArray): True positives, false positives and false negatives, shape (n_docs, n_labels, 3).
    """
    n_docs, n_labels, _ = counts.shape
    flat = counts.reshape(n_docs, n_labels * 3).astype(numpy.float64)

    def statistic(weights: Ints) -> float:
        tp, fp, fn = (weights @ flat).reshape(n_labels, 3).T
        whole = tp + 0.5 * (fp + fn)
        return float((tp[whole > 0] / whole[whole > 0]).mean()) if (whole > 0).any() else math.nan

    return statistic


@dataclass(frozen=True)
class Bin:
    """A step of a reliability diagram. confidence and accuracy are means over its n predictions."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How sure predictions were, and which of them were right.

    confidence (NDArray): Probabilities, shape (n_predictions,).
    correct (NDArray): 1 where right, shape (n_predictions,).
    doc (NDArray): Numbers of the docs, shape (n_predictions,).
    """

    confidence: NDArray[numpy.float64]
    correct: NDArray[numpy.float64]
    doc: Ints

    def bins(self, n_bins: int = BINS) -> list[Bin]:
        """RETURNS (List[Bin]): Steps of one width from 0 to 1; empty ones are left out."""
        which = bin_of(self.confidence, n_bins)
        found = []
        for b in range(n_bins):
            inside = which == b
            if inside.any():
                means = float(self.confidence[inside].mean()), float(self.correct[inside].mean())
                found.append(Bin(b / n_bins, (b + 1) / n_bins, int(inside.sum()), *means))
        return found

    def error(self, n_bins: int = BINS) -> Statistic:
        """The expected calibration error; see `heads.calibration.calibration_error`.

        n_bins (int): How many bins of one width.
        """

        def statistic(weights: Ints) -> float:
            found = calibration_error(self.confidence, self.correct, n_bins, weights[self.doc])
            return math.nan if found is None else found

        return statistic


@dataclass(frozen=True)
class Confusion:
    """How often gold (rows) met prediction (columns). counts has shape (n_rows, n_columns)."""

    rows: list[str]
    columns: list[str]
    counts: Ints


def confusion(pairs: Sequence[tuple[str, str]], most: int = 20) -> Confusion:
    """Count pairs. Of many labels those with most mistakes are shown, and the others taken together.

    most (int): The most rows, without the one of all others.
    RETURNS (Confusion): Rows and columns alike, in alphabetical order.
    """
    mistakes = dict.fromkeys((label for pair in pairs for label in pair), 0)
    for gold, guess in pairs:
        mistakes[gold] += gold != guess
        mistakes[guess] += gold != guess
    labels = sorted(sorted(mistakes, key=lambda label: -mistakes[label])[:most])
    rest = len(mistakes) > len(labels)
    place = {label: i for i, label in enumerate(labels)}
    counts = numpy.zeros((len(labels) + rest,) * 2, dtype=numpy.int64)
    for gold, guess in pairs:
        counts[place.get(gold, len(labels)), place.get(guess, len(labels))] += 1
    names = labels + [OTHER] * rest
    return Confusion(names, names, counts)


def length_groups(lengths: Sequence[int], most: int = 5) -> list[tuple[int, int, Ints]]:
    """Cut docs into groups of about one size, by length.

    RETURNS (List[Tuple[int, int, NDArray[int64]]]): Shortest and longest doc, and the numbers of the docs.
    """
    values = numpy.asarray(lengths)
    edges = numpy.unique(numpy.quantile(values, numpy.linspace(0, 1, most + 1)[1:], method="higher"))
    which = numpy.searchsorted(edges, values)
    found = [numpy.flatnonzero(which == g) for g in range(len(edges))]
    return [(int(values[own].min()), int(values[own].max()), own) for own in found if len(own)]


def within(statistic: Statistic, own: Ints, n_docs: int) -> Statistic:
    """The score of some of the docs.

    n_docs (int): How many there are in all.
    RETURNS (Callable): Takes weights of these docs alone.
    """
    if isinstance(statistic, Proportion):
        return Proportion(statistic.right[own])

    def part(weights: Ints) -> float:
        whole = numpy.zeros(n_docs, dtype=numpy.int64)
        whole[own] = weights
        return statistic(whole)

    return part
