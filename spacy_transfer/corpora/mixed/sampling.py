"""Sampling: the corpus of the next example, by the shares of a rule."""

import math
import random
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

from ...errors import Errors

Sampling = Literal["proportional", "temperature", "annealed", "round_robin", "weights"]


class Rule:
    """The share of every corpus at every draw.

    sampling (str): "proportional" to the numbers of examples; with a "temperature", proportional to their powers of
        1 / temperature (Devlin et al. 2019; 1 is proportional, many is equal); "annealed", to their powers of alpha,
        which falls in a straight line from 1 to 0 (after Stickland and Murray 2019); "round_robin", one after the
        other; "weights" that are given.
    temperature (float): Of "temperature".
    anneal (int): Of "annealed": after how many draws all shares are equal.
    weights (Optional[Sequence[float]]): Of "weights".
    """

    def __init__(
        self,
        sampling: Sampling,
        sizes: Sequence[int],
        *,
        temperature: float = 1.0,
        anneal: int = 0,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.sampling = sampling
        self._sizes, self._temperature, self._anneal = list(sizes), temperature, anneal
        self._weights = list(weights or [])

    def shares(self, n_draws: int) -> list[float]:
        """RETURNS (List[float]): The share of every corpus after so many draws. They add up to 1."""
        if self.sampling == "weights":
            return _normal(self._weights)
        # Of the largest size: a power of a size itself may be more than any number.
        most = max(self._sizes)
        return _normal([(size / most) ** self._power(n_draws) for size in self._sizes])

    def _power(self, n_draws: int) -> float:
        if self.sampling == "temperature":
            return 1.0 / self._temperature
        if self.sampling == "annealed":
            return max(0.0, 1.0 - n_draws / self._anneal)
        return 0.0 if self.sampling == "round_robin" else 1.0


class Draws:
    """Random draws that never stray from the shares: what a corpus is owed, the sum of its shares less its draws, is
    its weight in the next draw. So after any number of draws each corpus has its due to within the number of corpora,
    where independent draws would be off by the root of the number of draws.

    rule (Rule): The shares. With "round_robin" nothing is random.
    """

    def __init__(self, rule: Rule, generator: random.Random) -> None:
        self._rule, self._generator = rule, generator
        self._owed = [0.0] * len(rule.shares(0))
        self._n_draws = 0

    def next(self) -> int:
        """RETURNS (int): Index of the next corpus."""
        self._accrue()
        # Rounded, since binary sums of decimals may miss a whole number.
        owed = [round(max(0.0, amount), 9) for amount in self._owed]
        if self._rule.sampling == "round_robin":
            found = owed.index(max(owed))
        else:
            found = self._generator.choices(range(len(owed)), owed)[0]
        self._owed[found] -= 1.0
        return found

    def count(self, index: int) -> None:
        """Take a draw that was made otherwise into account: the next ones make up for it."""
        self._accrue()
        self._owed[index] -= 1.0

    def _accrue(self) -> None:
        shares = self._rule.shares(self._n_draws)
        self._owed = [amount + share for amount, share in zip(self._owed, shares, strict=True)]
        self._n_draws += 1


def check_rule(
    sampling: Sampling | None,
    names: Sequence[str],
    temperature: float,
    anneal: int,
    weights: Mapping[str, float] | None,
) -> None:
    """Whether a rule has all that it needs, and nothing else.

    temperature (float), anneal (int): See `Rule`.
    RAISES (ValueError): With the key and the way out.
    """
    if not (math.isfinite(temperature) and temperature > 0.0):
        wanted = "It must be more than 0; 1 is proportional, and the higher, the more equal."
        raise ValueError(Errors.T518.format(name="temperature", found=temperature, sampling=sampling, wanted=wanted))
    if anneal < 0 or (sampling == "annealed") != (anneal > 0):
        wanted = 'It is the number of draws after which all corpora have equal shares, for sampling = "annealed" alone.'
        raise ValueError(Errors.T518.format(name="anneal", found=anneal, sampling=sampling, wanted=wanted))
    if (sampling == "weights") != (weights is not None):
        wanted = 'Weights by the name of the corpus belong to sampling = "weights", and to that alone.'
        raise ValueError(Errors.T518.format(name="weights", found=weights, sampling=sampling, wanted=wanted))
    if weights is not None:
        _check_weights(names, weights)


def _check_weights(names: Sequence[str], weights: Mapping[str, float]) -> None:
    if differing := sorted(set(weights) ^ set(names)):
        near = get_close_matches(differing[0], sorted({*names, *weights} - {differing[0]})) or "none"
        raise ValueError(Errors.T517.format(found=list(weights), corpora=list(names), near=near))
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0.0):
            raise ValueError(Errors.T516.format(name=name, found=weight))
    if not any(weights.values()):
        raise ValueError(Errors.T516.format(name="all", found=0.0))


def _normal(amounts: Sequence[float]) -> list[float]:
    total = sum(amounts)
    return [amount / total for amount in amounts]
