"""How much each weight matters to what has been learned: the diagonal of the Fisher information."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy


class DiagonalFisher:
    """Mean over examples of the squared gradient of an example's log-likelihood (the diagonal that Kirkpatrick et al.
    2017, arXiv 1612.00796, weigh their penalty with). With gold labels it is the empirical Fisher; with a model's own
    answers in their place, it tells what those hang on.

    Arrays of numpy, cupy and torch alike; sums are kept as they come. Each component has examples of its own: those
    that teach others would water its mean down.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sums: dict[str, Any] = {}
        self._components: dict[str, str] = {}

    def add(self, component: str, gradients: Iterable[tuple[str, Any]]) -> None:
        """Count one example.

        component (str): Name of the component that it teaches.
        gradients (Iterable[Tuple[str, FloatsXd]]): Of its summed loss by name of the component's parameter; what has
            none is left out. Nothing is kept of them.
        """
        self.counts[component] += 1
        for name, gradient in gradients:
            self._components[name] = component
            square = gradient * gradient
            if name in self._sums:
                self._sums[name] += square
            else:
                self._sums[name] = square

    def __contains__(self, name: str) -> bool:
        return name in self._sums

    def mean(self, name: str, like: Any) -> Any:
        """The importance of a parameter.

        name (str): The parameter.
        like (FloatsXd): An array of its shape, for one that no example has had a gradient for.
        RETURNS (FloatsXd): 0 or more for each weight.
        """
        if name not in self._sums:
            return like * 0
        return self._sums[name] / self.counts[self._components[name]]

    def is_finite(self) -> bool:
        """RETURNS (bool): Whether no example has spoilt the sums."""
        return all(bool(numpy.isfinite(float(total.sum()))) for total in self._sums.values())
