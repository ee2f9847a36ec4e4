"""Gradients of a backbone's parameters task by task, and PCGrad on them."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, cast

import numpy
from thinc.types import FloatsXd

from ...backbones.shims.retained_graph import keep_graph
from ...errors import Errors
from ...tuning.pcgrad import project
from ...types import Floats, Pipe
from ..parameters import NamedParameter, parameters_of
from .gradients import PendingGradients

Gradients = dict[str, Any]
"""By full name of the parameter: tensors of torch, or arrays."""


class TaskGradients:
    """Runs a backward pass for each task of a batch, with one forward pass for all, and keeps the gradients of the
    backbone's parameters by task until the step. Those of several batches are summed by task, so accumulated gradients
    are those of the big batch. They need the memory of the trained parameters once for each task.

    Other gradients, such as an anchor's, are of no task: they are kept apart, and added unchanged.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: dict[str, Gradients] = {}
        self._rest: Gradients = {}

    def __bool__(self) -> bool:
        return bool(self._tasks or self._rest)

    def forget(self) -> None:
        """Drop what has been collected."""
        self._tasks, self._rest = {}, {}

    def collect(self, pipe: Pipe, pending: PendingGradients) -> None:
        """A backward pass for each task of a batch that has a gradient."""
        parameters = parameters_of(self._name, pipe)
        check_passes(self._name, parameters)
        _take(parameters, self._rest)
        tasks = pending.tasks
        if not tasks:
            pending.backprop()  # Zeros; the step is made all the same, as without PCGrad.
            _take(parameters, self._rest)
        for i, task in enumerate(tasks):
            with keep_graph(i + 1 < len(tasks)):
                pending.backprop_task(task)
            _take(parameters, self._tasks.setdefault(task, {}))

    def moves(self, parameter: NamedParameter) -> bool:
        """RETURNS (bool): Whether a gradient other than 0 has been collected for a parameter."""
        parts = (self._rest, *self._tasks.values())
        return any(parameter.name in own and bool(own[parameter.name].any()) for own in parts)

    def add(self, parameter: NamedParameter, more: Floats) -> None:
        """Add what is no task's to the coming step.

        more (Union[FloatsXd, Tensor]): Of its shape and library, without a loss scale.
        """
        parameter.parameter.add_gradient(cast(FloatsXd, more))
        _take([parameter], self._rest)

    def places(self, tasks: Sequence[str]) -> list[Gradients]:
        """Where gradients are kept, by parameter: what is no task's, and what is each task's, in this order."""
        self._tasks = {task: self._tasks.get(task, {}) for task in tasks}
        return [self._rest, *self._tasks.values()]

    def drop_empty(self) -> None:
        """Forget tasks without a gradient."""
        self._tasks = {task: own for task, own in self._tasks.items() if own}

    def of(self, task: str) -> Gradients:
        """RETURNS (Dict[str, Union[Tensor, FloatsXd]]): What has been collected of a task, by parameter."""
        return self._tasks[task]

    def products(self) -> tuple[list[str], Floats]:
        """The tasks, and the products of their gradients with one another.

        RETURNS (Tuple[List[str], Floats]): Names, and shape (n_tasks, n_tasks).
        """
        names = list(self._tasks)
        found = numpy.zeros((len(names), len(names)))
        for i, first in enumerate(names):
            for j, second in enumerate(names[: i + 1]):
                found[i, j] = found[j, i] = _product(self._tasks[first], self._tasks[second])
        return names, found

    def merge(self, pipe: Pipe, products: Floats, random: Random) -> None:
        """Project what conflicts, and leave the sum for the optimizer.

        products (Floats): From `products`.
        """
        shares = dict(zip(self._tasks, project(products, random), strict=True))
        self.leave(pipe, shares)
        self.forget()

    def leave(self, pipe: Pipe, shares: Mapping[str, float]) -> None:
        """Leave a mix of the tasks' gradients, and what else there is, where the optimizer finds it."""
        for parameter in parameters_of(self._name, pipe):
            parts = [(1.0, self._rest), *((share, self._tasks[task]) for task, share in shares.items())]
            found = [(share, own[parameter.name]) for share, own in parts if parameter.name in own]
            if found:
                total = found[0][1] if found[0][0] == 1.0 else found[0][1] * found[0][0]
                for share, gradient in found[1:]:
                    total = total + (gradient if share == 1.0 else gradient * share)
                parameter.parameter.set_gradient(total)


def check_passes(name: str, parameters: list[NamedParameter]) -> None:
    """RAISES (ValueError): When a backbone has layers of torch with one backward pass only."""
    for parameter in parameters:
        if parameter.is_torch and not getattr(parameter.parameter.owner, "keeps_graph", False):
            raise ValueError(Errors.T664.format(name=name, found=type(parameter.parameter.owner).__name__))


def drop_all(parameters: list[NamedParameter]) -> None:
    """Drop all gradients."""
    _take(parameters, {})


def _take(parameters: list[NamedParameter], into: Gradients) -> None:
    """Move gradients away from the parameters, and add them to what is there."""
    for parameter in parameters:
        gradient = parameter.parameter.take_gradient()
        if gradient is not None and parameter.name in into:
            into[parameter.name] += gradient
        elif gradient is not None:
            into[parameter.name] = gradient


def _product(first: Gradients, second: Gradients) -> float:
    """Sums of each parameter in its own precision, of all in double precision."""
    both = first.keys() & second.keys()
    return sum(float(first[name].reshape(-1) @ second[name].reshape(-1)) for name in sorted(both))
