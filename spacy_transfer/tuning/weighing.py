"""Weights of the tasks of a training: given, or learned from losses and gradients."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import Errors

RuleName = Literal["fixed", "uncertainty", "dwa", "gradnorm"]

# Learned factors are between 1 / _MOST and _MOST: otherwise a task whose loss goes to 0 would outweigh all others.
_MOST = 100.0


@dataclass(frozen=True)
class TaskWeights:
    """Settings; see `build_task_weights_v1`."""

    rule: RuleName = "fixed"
    weights: Mapping[str, float] = field(default_factory=dict)
    rate: float = 0.025
    window: int = 100
    temperature: float = 2.0
    alpha: float = 1.5


def build_task_weights_v1(
    *,
    rule: Literal["fixed", "uncertainty", "dwa", "gradnorm"] = "fixed",
    weights: dict[str, float] | None = None,
    rate: float = 0.025,
    window: int = 100,
    temperature: float = 2.0,
    alpha: float = 1.5,
) -> TaskWeights:
    """Weights of tasks: factors on their gradients where these enter a backbone, and in our own heads where they enter
    the head. A task is a component that listens to the backbone. Weights change only between steps. Learned weights are
    not saved.

    - "fixed": the given weights.
    - "uncertainty" (Kendall et al. 2018): exp(-s), where s goes down exp(-s) * L + s by gradient descent, and L is the
      loss per example. It settles where exp(-s) = 1 / L. A step of s is at most `rate` long.
    - "dwa", dynamic weight averaging (Liu et al. 2019): tasks whose loss falls more slowly than that of others weigh
      more, by a softmax over L(last window) / L(window before), times the number of tasks. The paper takes epochs; a
      window is a number of steps here, since mixed corpora have no epochs. All weigh 1 until two windows have passed.
      Another departure from the paper: weights below 1/100 are raised to that, and all then scaled so that they add up
      to the number of tasks again. Otherwise a loss near 0 that rises a little would leave the other tasks next to
      nothing until the next window is over.
    - "gradnorm" (Chen et al. 2018): weights move until the norms of the tasks' gradients are alike, but higher for
      tasks that learn more slowly. The gradients are those with respect to the rows, where they enter the backbone; the
      paper takes the last shared layer's weights. Steps are relative to the mean norm, and weights add up to the
      number of tasks.

    rule (str): "fixed", "uncertainty", "dwa" or "gradnorm".
    weights (Optional[Dict[str, float]]): By name of the component, 0 or more; 1 for those that are not named. What a
        rule learns is multiplied with them.
    rate (float): How fast "uncertainty" and "gradnorm" learn.
    window (int): Steps over which "dwa" averages losses.
    temperature (float): Of the softmax of "dwa": the higher, the more alike are the weights.
    alpha (float): How much "gradnorm" favours tasks that learn slowly; 0 makes all norms alike.
    RETURNS (TaskWeights): The settings.
    RAISES (ValueError): When a weight is negative, or a number is out of its range.
    """
    for name, weight in (weights or {}).items():
        if not 0.0 <= weight < math.inf:
            raise ValueError(Errors.T661.format(name=name, found=weight))
    bounds = {"rate": (rate, rate > 0), "window": (window, window >= 1), "temperature": (temperature, temperature > 0)}
    for key, (found, is_fine) in {**bounds, "alpha": (alpha, alpha >= 0)}.items():
        if not is_fine or found == math.inf:
            raise ValueError(Errors.T663.format(key=key, found=found))
    return TaskWeights(rule, dict(weights or {}), rate, window, temperature, alpha)


@dataclass
class Seen:
    """Loss and gradient of a task in a step.

    loss (float): Summed over its examples, as the component reports it.
    count (int): How many examples it had.
    squares (float): Of its gradient with respect to the rows, weights included, summed.
    """

    loss: float = 0.0
    count: int = 0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.loss / max(1, self.count)

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.squares)

    def add(self, other: "Seen") -> None:
        self.loss += other.loss
        self.count += other.count
        self.squares += other.squares


class Weights:
    """The weights of a training under way, by task.

    settings (TaskWeights): What is given, and the rule.
    """

    def __init__(self, settings: TaskWeights) -> None:
        self.settings = settings
        self.factors: dict[str, float] = {}

    def of(self, task: str) -> float:
        """RETURNS (float): Weight of a task in this step."""
        return self.settings.weights.get(task, 1.0) * self.factors.get(task, 1.0)

    def check(self, tasks: Collection[str]) -> None:
        """RAISES (ValueError): When all weights are 0."""
        if tasks and not any(self.settings.weights.get(task, 1.0) for task in tasks):
            raise ValueError(Errors.T662.format(tasks=sorted(tasks)))

    def learn(self, seen: Mapping[str, Seen]) -> None:
        """Learn from a step. Tasks whose loss or gradient is not finite are left out: `min` and `max` would return a
        bound for a NaN, and it would stay in all means.

        seen (Mapping[str, Seen]): By task, of those in the step.
        """
        self._learn({task: found for task, found in seen.items() if found.is_finite})

    def training_state(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): What has been learned, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "settings"}

    def set_training_state(self, state: Mapping[str, Any]) -> None:
        """Begin with what `training_state` gave."""
        vars(self).update(state)

    def _learn(self, seen: Mapping[str, Seen]) -> None:
        """Given weights do not change."""


class Uncertainty(Weights):
    """Kendall, Gal and Cipolla 2018, arXiv 1705.07115, with s = log sigma^2."""

    def __init__(self, settings: TaskWeights) -> None:
        super().__init__(settings)
        self._s: dict[str, float] = {}

    def _learn(self, seen: Mapping[str, Seen]) -> None:
        bound = math.log(_MOST)
        for task, found in seen.items():
            s = self._s.get(task, 0.0)
            gradient = 1.0 - math.exp(-s) * found.mean
            s -= self.settings.rate * max(-1.0, min(1.0, gradient))
            self._s[task] = max(-bound, min(bound, s))
            self.factors[task] = math.exp(-self._s[task])


class WeightAveraging(Weights):
    """Liu, Johns and Davison 2019, arXiv 1803.10704, section 3.3. Unlike there, no task weighs less than 1 / _MOST
    (before the sum is restored): the softmax of a very large ratio is 1 for that task and 0 for all others. No weight
    is larger than the number of tasks."""

    def __init__(self, settings: TaskWeights) -> None:
        super().__init__(settings)
        self._steps = 0
        self._window: dict[str, Seen] = {}
        self._means: dict[str, list[float]] = {}

    def training_state(self) -> dict[str, Any]:
        window = {task: [seen.loss, seen.count, seen.squares] for task, seen in self._window.items()}
        return {**super().training_state(), "_window": window}

    def set_training_state(self, state: Mapping[str, Any]) -> None:
        window = {task: Seen(*numbers) for task, numbers in state["_window"].items()}
        super().set_training_state({**state, "_window": window})

    def _learn(self, seen: Mapping[str, Seen]) -> None:
        for task, found in seen.items():
            self._window.setdefault(task, Seen()).add(found)
        self._steps += 1
        if self._steps % self.settings.window:
            return
        for task, found in self._window.items():
            self._means[task] = [*self._means.get(task, [])[-1:], found.mean]
        self._window = {}
        ratios = {task: _ratio(*means[::-1]) for task, means in self._means.items() if len(means) == 2}
        # Shifted, so that no exponential overflows.
        top = max(ratios.values(), default=0.0)
        shares = {task: math.exp((ratio - top) / self.settings.temperature) for task, ratio in ratios.items()}
        total = sum(shares.values())
        bounded = {task: max(1.0 / _MOST, len(shares) * share / total) for task, share in shares.items()}
        self.factors = _summing_to_their_number(bounded)


class GradNorm(Weights):
    """Chen et al. 2018, arXiv 1711.02257. A task that is not in a step counts with its last norm and loss, and keeps
    its weight until the sum is restored."""

    def __init__(self, settings: TaskWeights) -> None:
        super().__init__(settings)
        self._first: dict[str, float] = {}
        self._norms: dict[str, float] = {}
        self._speeds: dict[str, float] = {}

    def _learn(self, seen: Mapping[str, Seen]) -> None:
        here = [task for task, found in seen.items() if found.squares > 0.0 and self.of(task) > 0.0]
        for task in here:
            self.factors.setdefault(task, 1.0)
            self._norms[task] = math.sqrt(seen[task].squares) / self.of(task)
            first = self._first.setdefault(task, seen[task].mean)
            self._speeds[task] = _ratio(seen[task].mean, first)
        if len(self._norms) < 2 or not here:
            return
        norms = {task: self.factors[task] * norm for task, norm in self._norms.items()}
        mean, speed = _mean(norms.values()), _mean(self._speeds.values())
        for task in here:
            aim = mean * _ratio(self._speeds[task], speed) ** self.settings.alpha
            sign = float(norms[task] > aim) - float(norms[task] < aim)
            moved = self.factors[task] - self.settings.rate * sign * self._norms[task] / mean
            self.factors[task] = max(1.0 / _MOST, moved)
        self.factors = _summing_to_their_number(self.factors)


_RULES: dict[str, type[Weights]] = {
    "fixed": Weights,
    "uncertainty": Uncertainty,
    "dwa": WeightAveraging,
    "gradnorm": GradNorm,
}


def start(settings: TaskWeights) -> Weights:
    """RETURNS (Weights): The weights of the first step."""
    return _RULES[settings.rule](settings)


def _summing_to_their_number(factors: Mapping[str, float]) -> dict[str, float]:
    total = sum(factors.values())
    return {task: factor * len(factors) / total for task, factor in factors.items()}


def _ratio(value: float, base: float) -> float:
    """1 where a loss is 0 or negative."""
    return value / base if value > 0.0 and base > 0.0 else 1.0


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
