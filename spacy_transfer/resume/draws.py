"""The random numbers that readers, the shuffling of spaCy and batchers draw: what is needed to draw the same again."""

import random
from collections.abc import Mapping
from typing import Any, cast

import numpy
from numpy.typing import NDArray

from .random_states import Arrays, are_equal, of_python_and_numpy, pack, unpack

_PREFIX = "draws."


class Draws:
    """Follows Python's and NumPy's generators while batches are drawn.

    Training draws from the same generators as readers (a parser, dropout). In a replay nothing is trained. So where
    drawing a batch takes random numbers, and the generators are not as the last such drawing left them, their states
    before it are remembered.
    """

    def __init__(self) -> None:
        self.count = 0
        self.states: dict[int, Arrays] = {}
        self.is_replay = False
        self._before: tuple[Any, Any] | None = None
        self._left: tuple[Any, Any] | None = None

    def begin(self) -> None:
        """A batch will be drawn."""
        if self.is_replay and self.count in self.states:
            python, numpys = unpack(self.states[self.count])
            random.setstate(python)
            numpy.random.set_state(cast(Any, numpys))  # noqa: NPY002
        self._before = of_python_and_numpy()
        if self._left is None:
            self._left = self._before

    def end(self) -> None:
        """It was drawn."""
        now = of_python_and_numpy()
        assert self._before is not None and self._left is not None
        if not are_equal(now, self._before):
            if not self.is_replay and not are_equal(self._before, self._left):
                self.states[self.count] = pack(*self._before)
            self._left = now
        self.count += 1

    def to_arrays(self) -> Arrays:
        """RETURNS (Dict[str, NDArray]): The remembered states, one array a kind."""
        if not self.states:
            return {}
        kinds = next(iter(self.states.values()))
        stacked = {_PREFIX + kind: numpy.stack([state[kind] for state in self.states.values()]) for kind in kinds}
        return {_PREFIX + "at": numpy.array(list(self.states), dtype="int64"), **stacked}

    def replay(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Draw as the training did that `to_arrays` was called in."""
        self.is_replay = True
        kinds = {name.removeprefix(_PREFIX): array for name, array in arrays.items() if name.startswith(_PREFIX)}
        for i, at in enumerate(kinds.pop("at", numpy.zeros(0, dtype="int64")).tolist()):
            self.states[at] = {kind: array[i] for kind, array in kinds.items()}
