"""Probabilities that mean what they say: temperature, calibration error, thresholds. Arrays only.

Every head joins by its decisions: an object with `nll(temperature)` and `confidences(temperature)`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy

BINS = 15
LOWEST, HIGHEST = 0.02, 50.0
"""Temperatures among which the best is looked for."""
_GOLDEN = (5**0.5 - 1) / 2
_CLOSE = 1e-5
_PLACES = 15


class Decisions(Protocol):
    """What a head decides in a batch, as a function of its temperature."""

    def __len__(self) -> int:
        """RETURNS (int): How many decisions there are whose truth is known."""

    def nll(self, temperature: float) -> float:
        """RETURNS (float): Negative log-likelihood of the truth, summed."""

    def confidences(self, temperature: float) -> tuple[Any, Any]:
        """RETURNS (Tuple[Floats1d, Floats1d]): Probability of each decision, and whether it is right (0 to 1)."""


@dataclass
class LabelDecisions:
    """Labels of texts.

    logits (Floats2d): Before the temperature, float64, shape (n_docs, n_labels).
    truths (Floats2d): Targets between 0 and 1, same shape.
    mask (Floats2d): 0 where the truth is not known; for exclusive labels whole rows.
    exclusive (bool): Softmax, or a sigmoid for each label.
    """

    logits: Any
    truths: Any
    mask: Any
    exclusive: bool

    def __len__(self) -> int:
        return int(self.mask.all(axis=1).sum() if self.exclusive else self.mask.sum())

    def scores(self, temperature: float) -> Any:
        """RETURNS (Floats2d): Probabilities."""
        logits = self.logits / temperature
        if not self.exclusive:
            return numpy.exp(-numpy.logaddexp(0.0, -logits))
        return numpy.exp(logits - _log_sum_exp(logits))

    def nll(self, temperature: float) -> float:
        """Cross-entropy: over all labels of a doc, or for each label by itself."""
        logits = self.logits / temperature
        if self.exclusive:
            return float((self.mask * self.truths * (_log_sum_exp(logits) - logits)).sum())
        return float((self.mask * (numpy.logaddexp(0.0, logits) - self.truths * logits)).sum())

    def confidences(self, temperature: float) -> tuple[Any, Any]:
        """The highest score of each doc, and whether that is the doc's label; or the score of each label, and whether
        the label holds."""
        scores = self.scores(temperature)
        if not self.exclusive:
            known = self.mask > 0
            return scores[known], self.truths[known]
        rows = self.mask.all(axis=1)
        scores, truths = scores[rows], self.truths[rows]
        if not len(scores):
            return numpy.zeros(0), numpy.zeros(0)
        return scores.max(axis=1), (scores.argmax(axis=1) == truths.argmax(axis=1)).astype(float)


def _log_sum_exp(logits: Any) -> Any:
    most = logits.max(axis=1, keepdims=True)
    return most + numpy.log(numpy.exp(logits - most).sum(axis=1, keepdims=True))


def mean_nll(parts: Sequence[Decisions], temperature: float) -> float:
    """RETURNS (float): Negative log-likelihood per decision, of all parts together."""
    return sum(part.nll(temperature) for part in parts) / sum(map(len, parts))


def fit_temperature(parts: Sequence[Decisions]) -> float | None:
    """The temperature under which the truth is most likely (Guo et al. 2017). It divides logits, so that no decision
    changes, only how sure of it the head is.

    parts (Sequence[Decisions]): Decisions on texts that were not trained on.
    RETURNS (Optional[float]): None where none between `LOWEST` and `HIGHEST` is best: all decisions right (the
        surer, the better), or no better than guessing.
    """

    def loss(log: float) -> float:
        # Every comparison with a NaN is false, and argmin takes it for the lowest: it must be the highest.
        found = mean_nll(parts, float(numpy.exp(log)))
        return found if math.isfinite(found) else math.inf

    low, high = float(numpy.log(LOWEST)), float(numpy.log(HIGHEST))
    # Not every loss has one minimum alone: that of entities goes by marginals. The lowest of some is looked into.
    places = numpy.linspace(low, high, _PLACES).tolist()
    losses = [loss(place) for place in places]
    at = int(numpy.argmin(losses))
    best = minimum(loss, places[max(at - 1, 0)], places[min(at + 1, _PLACES - 1)])
    if best - low < 1e-3 or high - best < 1e-3 or not loss(best) < min(losses[0], losses[-1]):
        return None
    return float(numpy.exp(best)) if loss(best) < loss(0.0) else 1.0


def minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search.

    function (Callable[[float], float]): Has one minimum.
    low (float), high (float): Where to look.
    RETURNS (float): Where the minimum is.
    """
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > _CLOSE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2


def bin_of(confidences: Any, bins: int = BINS) -> Any:
    """Bins of one width between 0 and 1.

    confidences (Floats1d): Between 0 and 1.
    bins (int): How many; an upper edge belongs to its bin.
    RETURNS (Ints1d): The number of the bin that each falls into.
    """
    return numpy.clip(numpy.ceil(numpy.asarray(confidences, dtype="d") * bins).astype(int) - 1, 0, bins - 1)


def calibration_error(confidences: Any, right: Any, bins: int = BINS, weights: Any = None) -> float | None:
    """Expected calibration error (Naeini et al. 2015): how far confidence and accuracy lie apart, on average over
    bins of equal width, each weighing as much as it holds.

    confidences (Floats1d): Between 0 and 1.
    right (Floats1d): 1 where the decision is right.
    bins (int): Number of bins; an upper edge belongs to its bin.
    weights (Optional[Floats1d]): How often each decision counts; None for once.
    RETURNS (Optional[float]): Between 0 and 1; None without decisions.
    """
    apart = numpy.asarray(right, dtype="d") - numpy.asarray(confidences, dtype="d")
    count = len(apart) if weights is None else float(numpy.sum(weights))
    if not count:
        return None
    apart = apart if weights is None else apart * weights
    return float(numpy.abs(numpy.bincount(bin_of(confidences, bins), apart, bins)).sum() / count)


def error_of(parts: Sequence[Decisions], temperature: float, bins: int = BINS) -> float | None:
    """RETURNS (Optional[float]): Expected calibration error of all parts together."""
    pairs = [part.confidences(temperature) for part in parts]
    confidences, right = (numpy.concatenate(column) for column in zip(*pairs, strict=True))
    return calibration_error(confidences, right, bins)


def best_threshold(scores: Any, truths: Any) -> tuple[float, float] | None:
    """The threshold that gives one label the highest F1. It lies half-way between two scores; of several best cuts it
    is the one nearest to half the best F1, where the cut of well calibrated scores belongs (Lipton et al. 2014).

    scores (Floats1d): Of the label, on texts where its truth is known.
    truths (Floats1d): Whether it holds (more than 0.5).
    RETURNS (Optional[Tuple[float, float]]): Threshold and F1; None where the label always holds or never does, which
        says nothing about where to cut.
    """
    finite = numpy.isfinite(scores)
    given, holds = numpy.asarray(scores, dtype="d")[finite], numpy.asarray(truths)[finite] > 0.5
    if not holds.any() or holds.all():
        return None
    order = numpy.argsort(-given, kind="stable")
    falling, hits = given[order], numpy.cumsum(holds[order])
    # A cut after the last of equal scores: the label is taken to hold down to there.
    ends = numpy.flatnonzero(numpy.append(falling[:-1] > falling[1:], True))
    below = numpy.append(falling, 0.0)[ends + 1]
    # A component's settings are saved with ten digits: what has more would move on the way.
    cuts = numpy.round((falling[ends] + below) / 2, 9)
    parts = (cuts <= falling[ends]) & ((cuts > below) | (ends == len(falling) - 1))
    if not parts.any():
        return None
    f1 = numpy.where(parts, 2 * hits[ends] / (ends + 1 + holds.sum()), -1.0)
    best = numpy.flatnonzero(f1 >= f1.max() - 1e-12)
    nearest = best[numpy.abs(cuts[best] - f1.max() / 2).argmin()]
    return float(cuts[nearest]), float(f1.max())
