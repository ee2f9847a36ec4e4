"""The learning rate range test (Smith 2017, arXiv 1506.01186): rates, a curve of losses, and the suggested rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from ..errors import Errors, WrongUsage
from ..types import Floats

# The least relative fall of a curve.
_LEAST_FALL = 0.02


@dataclass(frozen=True)
class Suggestion:
    """The result of a range test.

    minimum (float): The rate at which the smoothed loss is lowest.
    smoothed (Floats): The smoothed losses, up to the first that is not finite.
    still_falls (bool): Whether the curve falls to its end, so that the rate is only a lower bound.
    """

    rate: float
    minimum: float
    smoothed: Floats
    still_falls: bool


def rates_between(low: float, high: float, steps: int) -> list[float]:
    """RETURNS (List[float]): A geometric sequence of `steps` rates, from `low` to `high`."""
    if not 0.0 < low < high or steps < 10:
        raise WrongUsage(Errors.T621.format(low=low, high=high, steps=steps))
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


class Divergence:
    """Stops the test when the running mean of the loss is more than `times` its lowest value.

    memory (float): Share of the mean that each step keeps.
    """

    def __init__(self, times: float = 4.0, memory: float = 0.8) -> None:
        self._times = times
        self._memory = memory
        self._total = self._weight = 0.0
        self._best = math.inf

    def sees(self, loss: float) -> bool:
        """RETURNS (bool): Whether the training diverges, after one more loss."""
        if not math.isfinite(loss):
            return True
        self._total = self._memory * self._total + (1.0 - self._memory) * loss
        self._weight = self._memory * self._weight + (1.0 - self._memory)
        mean = self._total / self._weight
        self._best = min(self._best, mean)
        return mean > self._times * self._best


class Losses:
    """One curve from the losses of all heads.

    spaCy's components sum over tokens, sum over texts, or take means, so that a loss can depend on the size of the
    batch. At the first, very low rates the loss per unit should be the same in all batches: of the three units, the one
    with the least variation is chosen. Each loss is then divided by its mean at the first rates: all heads weigh alike,
    and 1 is the loss before training.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._sums: dict[str, float] = {}
        self._source: dict[str, float] | None = None
        self._losses: dict[str, list[float]] = {}
        self._units: list[tuple[float, float, float]] = []

    def add(self, sums: dict[str, float], n_texts: int, n_words: int) -> float:
        """Add a step.

        sums (Dict[str, float]): The summed losses of spaCy's loop, which sometimes begins a new dictionary.
        RETURNS (float): A rough loss of this step, not corrected for the size of the batch.
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

    def _relative(self, losses: Floats) -> Floats:
        beginning = numpy.flatnonzero(numpy.isfinite(losses[: max(3, len(losses) // 5)]))
        if not len(beginning):
            return losses

        def variation(values: Floats) -> float:
            with numpy.errstate(over="ignore", invalid="ignore"):
                found = float(values[beginning].std() / (abs(values[beginning].mean()) or 1.0))
            return found if math.isfinite(found) else math.inf  # `min` would choose a NaN that comes first.

        best: Floats = min((losses / unit for unit in numpy.asarray(self._units).T), key=variation)
        level = float(best[beginning].mean())
        return best / level if level else best


def smooth(losses: Sequence[float]) -> Floats:
    """RETURNS (Floats): Weighted means around each step, by a normal curve as wide as 3% of the steps. A running mean
    would shift the curve to higher rates."""
    values = numpy.asarray(losses, dtype=numpy.float64)
    width = max(1.0, 0.03 * len(values))
    distance = numpy.subtract.outer(numpy.arange(len(values)), numpy.arange(len(values))) / width
    weights = numpy.exp(-0.5 * distance**2)
    means: Floats = (weights @ values) / weights.sum(axis=1)
    return means


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """A tenth of the rate at which the smoothed loss is lowest.

    At the lowest point steps do as much harm as good; at a tenth of it they help. The other common rule, the rate of
    steepest descent, depends on differences between neighbours: on curves of mini-batches it differs by a power of ten
    from seed to seed, and for heads that begin at zero, whose loss falls at once, it is the lowest rate. The lowest
    point is stable.

    losses (Sequence[float]): By step. From the first that is not finite on, they are not read.
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
