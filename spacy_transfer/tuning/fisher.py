"""The diagonal of the Fisher information: how much each weight matters to what has been learned."""

from collections import Counter
from collections.abc import Iterable

import numpy

from ..types import Floats


class DiagonalFisher:
    """Mean over examples of the squared gradient of an example's log-likelihood (the diagonal that Kirkpatrick et al.
    2017, arXiv 1612.00796, weigh their penalty with). With gold labels it is the empirical Fisher; with a model's own
    predictions in their place, it tells which weights those depend on.

    Gradients are arrays of numpy or cupy, or tensors of torch. The mean of a component is over the examples that train
    it.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sums: dict[str, Floats] = {}
        self._components: dict[str, str] = {}

    def add(self, component: str, gradients: Iterable[tuple[str, Floats]]) -> None:
        """Count one example.

        component (str): Name of the component that it trains.
        gradients (Iterable[Tuple[str, FloatsXd]]): Of its summed loss, by name of the component's parameter. A
            parameter without a gradient is left out.
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

    def mean(self, name: str, like: Floats) -> Floats:
        """The importance of a parameter.

        like (FloatsXd): An array of its shape, for a parameter without any gradient.
        RETURNS (FloatsXd): 0 or more for each weight.
        """
        if name not in self._sums:
            return like * 0
        return self._sums[name] / self.counts[self._components[name]]

    def is_finite(self) -> bool:
        """RETURNS (bool): Whether all gradients were finite."""
        return all(bool(numpy.isfinite(float(total.sum()))) for total in self._sums.values())
