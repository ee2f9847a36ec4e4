"""The learning rate range test (Smith 2017, arXiv 1506.01186): rates, smoothing, and what to make of the curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from ..errors import Errors

# A curve whose lowest point is not at least so far below its beginning has not gone down.
_LEAST_FALL = 0.05


@dataclass(frozen=True)
class Suggestion:
    """What a curve says.

    rate (float): The rate to take.
    minimum (float): The rate at which the smoothed loss is lowest.
    smoothed (NDArray): The smoothed losses.
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
    losses (Sequence[float]): By step, finite.
    RETURNS (Suggestion): The rate.
    RAISES (ValueError): When the curve does not go down.
    """
    smoothed = smooth(losses)
    lowest = int(smoothed.argmin())
    start = float(numpy.median(smoothed[: max(1, len(smoothed) // 10)]))
    if len(smoothed) < 5 or not smoothed[lowest] < start - _LEAST_FALL * abs(start):
        raise ValueError(Errors.T622.format(start=f"{start:.3g}", lowest=f"{smoothed[lowest]:.3g}"))
    return Suggestion(rates[lowest] / 10.0, rates[lowest], smoothed, lowest >= len(smoothed) - 2)
