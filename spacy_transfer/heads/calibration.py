"""Calibration of probabilities: temperature scaling and the expected calibration error. Arrays only.

Every head is described by its `Decisions`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy
from numpy.typing import ArrayLike

from ..types import Floats, Ints

BINS = 15
LOWEST, HIGHEST = 0.02, 50.0
"""The range of temperatures that is searched."""
_GOLDEN = (5**0.5 - 1) / 2
_CLOSE = 1e-5
_PLACES = 15


class Decisions(Protocol):
    """The decisions of a head on a batch, as functions of its temperature."""

    def __len__(self) -> int:
        """RETURNS (int): Number of decisions whose truth is known."""

    def nll(self, temperature: float) -> float:
        """RETURNS (float): Negative log-likelihood of the truth, summed."""

    def confidences(self, temperature: float) -> tuple[Floats, Floats]:
        """RETURNS (Tuple[Floats, Floats]): Probability of each decision, and whether it is right (0 to 1)."""


@dataclass
class LabelDecisions:
    """Labels of texts.

    logits (Floats): Before the temperature, float64, shape (n_docs, n_labels).
    truths (Floats): Targets between 0 and 1, same shape.
    mask (Floats): 0 where the truth is not known; for exclusive labels whole rows.
    exclusive (bool): Softmax, or a sigmoid for each label.
    """

    logits: Floats
    truths: Floats
    mask: Floats
    exclusive: bool

    def __len__(self) -> int:
        return int(self.mask.all(axis=1).sum() if self.exclusive else self.mask.sum())

    def scores(self, temperature: float) -> Floats:
        """RETURNS (Floats): Probabilities."""
        logits = self.logits / temperature
        if not self.exclusive:
            return cast(Floats, numpy.exp(-numpy.logaddexp(0.0, -logits)))
        return cast(Floats, numpy.exp(logits - _log_sum_exp(logits)))

    def nll(self, temperature: float) -> float:
        """Cross-entropy: over all labels of a doc, or for each label by itself."""
        logits = self.logits / temperature
        if self.exclusive:
            return float((self.mask * self.truths * (_log_sum_exp(logits) - logits)).sum())
        return float((self.mask * (numpy.logaddexp(0.0, logits) - self.truths * logits)).sum())

    def confidences(self, temperature: float) -> tuple[Floats, Floats]:
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


def _log_sum_exp(logits: Floats) -> Floats:
    most: Floats = logits.max(axis=1, keepdims=True)
    return cast(Floats, most + numpy.log(numpy.exp(logits - most).sum(axis=1, keepdims=True)))


def mean_nll(parts: Sequence[Decisions], temperature: float) -> float:
    """RETURNS (float): Negative log-likelihood per decision, of all parts together."""
    return sum(part.nll(temperature) for part in parts) / sum(map(len, parts))


def fit_temperature(parts: Sequence[Decisions]) -> float | None:
    """The temperature under which the truth is most likely (Guo et al. 2017). It divides logits, so that no decision
    changes, only its confidence.

    parts (Sequence[Decisions]): Decisions on texts that were not trained on.
    RETURNS (Optional[float]): None where the best is not between `LOWEST` and `HIGHEST`: all decisions are right, or
        they are no better than guessing.
    """

    def loss(log: float) -> float:
        # A NaN counts as the highest loss: argmin would choose it.
        found = mean_nll(parts, float(numpy.exp(log)))
        return found if math.isfinite(found) else math.inf

    low, high = float(numpy.log(LOWEST)), float(numpy.log(HIGHEST))
    # The loss of entities can have several minima: search around the lowest point of a grid.
    places = numpy.linspace(low, high, _PLACES).tolist()
    losses = [loss(place) for place in places]
    at = int(numpy.argmin(losses))
    best = minimum(loss, places[max(at - 1, 0)], places[min(at + 1, _PLACES - 1)])
    if best - low < 1e-3 or high - best < 1e-3 or not loss(best) < min(losses[0], losses[-1]):
        return None
    return float(numpy.exp(best)) if loss(best) < loss(0.0) else 1.0


def minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search.

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


def bin_of(confidences: ArrayLike, bins: int = BINS) -> Ints:
    """Bins of one width between 0 and 1.

    confidences (Floats): Between 0 and 1.
    bins (int): How many; an upper edge belongs to its bin.
    RETURNS (Ints): Index of the bin of each.
    """
    return cast(Ints, numpy.clip(numpy.ceil(numpy.asarray(confidences, dtype="d") * bins).astype(int) - 1, 0, bins - 1))


def calibration_error(
    confidences: ArrayLike, right: ArrayLike, bins: int = BINS, weights: ArrayLike | None = None
) -> float | None:
    """Expected calibration error (Naeini et al. 2015): the distance between confidence and accuracy, on average
    over bins of equal width, weighted by their number of decisions.

    confidences (Floats): Between 0 and 1.
    right (Floats): 1 where the decision is right.
    bins (int): Number of bins; an upper edge belongs to its bin.
    weights (Optional[Floats]): How often each decision counts; None for once.
    RETURNS (Optional[float]): Between 0 and 1; None without decisions.
    """
    apart = numpy.asarray(right, dtype="d") - numpy.asarray(confidences, dtype="d")
    count = len(apart) if weights is None else float(numpy.sum(weights))
    if not count:
        return None
    apart = apart if weights is None else apart * numpy.asarray(weights)
    return float(numpy.abs(numpy.bincount(bin_of(confidences, bins), apart, bins)).sum() / count)


def error_of(parts: Sequence[Decisions], temperature: float, bins: int = BINS) -> float | None:
    """RETURNS (Optional[float]): Expected calibration error of all parts together."""
    pairs = [part.confidences(temperature) for part in parts]
    confidences, right = (numpy.concatenate(column) for column in zip(*pairs, strict=True))
    return calibration_error(confidences, right, bins)
