"""The learning rate range test (Smith 2017, arXiv 1506.01186): rates, smoothing, and what to make of the curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from ..errors import Errors

# A curve whose lowest point is not at least so far below its beginning has not gone down.
_LEAST_FALL = 0.02


@dataclass(frozen=True)
class Suggestion:
    """What a curve says.

    rate (float): The rate to take.
    minimum (float): The rate at which the smoothed loss is lowest.
    smoothed (NDArray): The smoothed losses, up to the first that is not finite.
    still_falls (bool): Whether the curve ends before it turns, so that the rate is but a lower bound.
    """

    rate: float
    minimum: float
    smoothed: NDArray[numpy.float64]
    still_falls: bool


def rates_between(low: float, high: float, steps: int) -> list[float]:
    """Rates in a geometric row.

    low (float): The first.
    high (float): The last.
    steps (int): How many.
    RETURNS (List[float]): The rates.
    """
    if not 0.0 < low < high or steps < 10:
        raise ValueError(Errors.T621.format(low=low, high=high, steps=steps))
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


class Divergence:
    """Says when to stop: when the running mean of the loss is more than so many times its lowest value.

    times (float): How many times.
    memory (float): Share of the mean that each step keeps.
    """

    def __init__(self, times: float = 4.0, memory: float = 0.8) -> None:
        self._times = times
        self._memory = memory
        self._total = self._weight = 0.0
        self._best = math.inf

    def sees(self, loss: float) -> bool:
        """RETURNS (bool): Whether this loss, one more, shows that the training diverges."""
        if not math.isfinite(loss):
            return True
        self._total = self._memory * self._total + (1.0 - self._memory) * loss
        self._weight = self._memory * self._weight + (1.0 - self._memory)
        mean = self._total / self._weight
        self._best = min(self._best, mean)
        return mean > self._times * self._best


class Losses:
    """Makes one curve of the losses of all heads.

    spaCy's components sum over tokens, sum over texts, or take means, and do not say which, so that a short batch would
    make a dent. In the beginning, as long as rates are too low to do anything, the loss per right unit is the same
    in all batches: the unit is the one by which it varies least there. Each head is then divided by its level in the
    beginning, so that all weigh alike, and 1 is the loss before training.

    names (Sequence[str]): The heads.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._sums: dict[str, float] = {}
        self._source: Any = None
        self._losses: dict[str, list[float]] = {}
        self._units: list[tuple[float, float, float]] = []

    def add(self, sums: dict[str, float], n_texts: int, n_words: int) -> float:
        """Take in a step.

        sums (Dict[str, float]): What spaCy's loop adds losses up in; it begins a new one when it likes.
        n_texts (int), n_words (int): Size of the batch.
        RETURNS (float): A loss of this step, roughly: sizes of batches are not yet seen to.
        """
        if sums is not self._source:
            self._source, self._sums = sums, {}
        names = [name for name in self._names if name in sums]
        if not names:
            raise ValueError(Errors.T623.format(names=self._names))
        self._units.append((1.0, float(n_texts), float(max(1, n_words))))
        for name in names:
            self._losses.setdefault(name, []).append(float(sums[name]) - self._sums.get(name, 0.0))
            self._sums[name] = float(sums[name])
        return sum(own[-1] / (abs(own[0]) or 1.0) for own in self._losses.values()) / len(names)

    def curve(self) -> list[float]:
        """RETURNS (List[float]): By step, the mean over the heads."""
        curves = [self._relative(numpy.asarray(own)) for own in self._losses.values()]
        return list(map(float, numpy.mean(curves, axis=0))) if curves else []

    def _relative(self, losses: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        beginning = numpy.flatnonzero(numpy.isfinite(losses[: max(3, len(losses) // 5)]))
        if not len(beginning):
            return losses

        def variation(values: NDArray[numpy.float64]) -> float:
            return float(values[beginning].std() / (abs(values[beginning].mean()) or 1.0))

        best = min((losses / unit for unit in numpy.asarray(self._units).T), key=variation)
        level = float(best[beginning].mean())
        return best / level if level else best


def smooth(losses: Sequence[float]) -> NDArray[numpy.float64]:
    """Weighted means around each step, by a normal curve as wide as 3% of the steps. A running mean would lag behind
    and shift the curve to higher rates.

    losses (Sequence[float]): By step.
    RETURNS (NDArray): As many.
    """
    values = numpy.asarray(losses, dtype=numpy.float64)
    width = max(1.0, 0.03 * len(values))
    distance = numpy.subtract.outer(numpy.arange(len(values)), numpy.arange(len(values))) / width
    weights = numpy.exp(-0.5 * distance**2)
    return (weights @ values) / weights.sum(axis=1)


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """A tenth of the rate at which the smoothed loss is lowest.

    At the lowest point steps do as much harm as good, and at a tenth of it they are surely useful. The other rule in
    use, the rate of the steepest descent, rests on differences between neighbours: on curves of mini-batches it jumps
    by a power of ten from seed to seed, and on heads that begin at zero, whose loss falls at once, it ends up on the
    left edge. The lowest point stays where it is.

    rates (Sequence[float]): By step, rising.
    losses (Sequence[float]): By step. From the first that is not finite on, they are not read.
    RETURNS (Suggestion): The rate.
    RAISES (ValueError): When the curve does not go down.
    """
    finite = numpy.isfinite(numpy.asarray(losses, dtype=numpy.float64))
    smoothed = smooth(losses[: len(finite) if finite.all() else int(finite.argmin())])
    if not len(smoothed):
        raise ValueError(Errors.T622.format(start="not finite", lowest="not finite"))
    lowest, beginning = int(smoothed.argmin()), max(1, len(smoothed) // 10)
    start = float(numpy.median(smoothed[:beginning]))
    if len(smoothed) < 5 or lowest < beginning or not smoothed[lowest] < start - _LEAST_FALL * abs(start):
        raise ValueError(Errors.T622.format(start=f"{start:.3g}", lowest=f"{smoothed[lowest]:.3g}"))
    return Suggestion(rates[lowest] / 10.0, rates[lowest], smoothed, lowest >= len(smoothed) - 2)
