"""Inter-task affinity: what a step on one task alone does to the losses of the others (Fifty et al. 2021)."""

import contextlib
import math
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, cast

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.util import fix_random_seed
from thinc.types import FloatsXd

from ..backbones.shims.parameter import as_array
from ..backbones.shims.tunable import tunable_shims
from ..pipeline.backbone.pcgrad import Gradients, TaskGradients, check_passes, drop_all
from ..pipeline.parameters import parameters_of
from ..random_state import same_random_state
from ..tuning.pcgrad import cosines
from ..types import Floats
from .anchored_step import NAME as ANCHOR

if TYPE_CHECKING:
    from thinc.api import Optimizer

    from ..pipeline.backbone.component import Backbone

Pairs = dict[tuple[str, str], list[float]]
"""What was measured of each pair of tasks."""


class Lookahead:
    """Inter-task affinity, after Fifty et al. 2021 (arXiv 2109.04617): 1 - L_j(after) / L_j(before), where between the
    two the backbone, and nothing else, has made a step along the gradient of task i. Losses are those of one batch, or
    of task j's last one where a batch trains task i alone. Whatever is random is the same before and after.

    The paper lets the training's optimizer make the step. Here it is a plain step down the gradient, of the same length
    for all tasks: neither the size of a loss nor the optimizer's moments, which come from all tasks, count.

    The training is not changed: weights, gradients and random numbers are put back as they were. An anchor is no task:
    it is left out.

    tasks (Sequence[str]): Names of components that listen to it.
    length (float): Of the step, as a share of the length of the vector of the weights that move.
    """

    def __init__(
        self,
        nlp: Language,
        backbone: "Backbone",
        tasks: list[str],
        length: float,
        exclude: Collection[str] = (),
        annotates: Collection[str] = (),
    ) -> None:
        self.tasks = tasks
        self._nlp, self._backbone, self._length = nlp, backbone, length
        others = {name for name, _ in nlp.pipeline} - {backbone.name, *tasks, *annotates}
        self._exclude, self._annotates = sorted({*exclude, *others, ANCHOR}), list(annotates)
        self._latest: dict[str, list[Example]] = {}
        self._found: Pairs = {}
        self._cosines: Pairs = {}
        self._seed = 0

    def measure(self, batch: list[Example]) -> None:
        """Look ahead from where the training is, between two steps."""
        self._seed += 1
        with same_random_state():
            gradients = TaskGradients(self._backbone.name)
            losses = self._losses(batch, gradients)
            names, products = gradients.products()
            self._compare(names, products)
            self._latest.update(dict.fromkeys(names, batch))
            batches = {id(latest): latest for latest in self._latest.values()}
            before = {key: losses if own is batch else self._losses(own) for key, own in batches.items()}
            for task in names:
                with self._shifted(gradients.of(task)):
                    after = {key: self._losses(own) for key, own in batches.items()}
                for other, latest in self._latest.items():
                    old, new = before[id(latest)].get(other, 0.0), after[id(latest)].get(other, 0.0)
                    if old > 0.0 and math.isfinite(new):
                        self._found.setdefault((task, other), []).append(1.0 - new / old)

    def _compare(self, names: list[str], products: Floats) -> None:
        found = cosines(products)
        for i, first in enumerate(names):
            for j, second in enumerate(names):
                self._cosines.setdefault((first, second), []).append(float(found[i, j]))

    # What was found

    def means(self) -> Floats:
        """RETURNS (Floats): The relative fall of the loss of each task (columns) after a step on each (rows), shape
        (n_tasks, n_tasks); NaN where nothing was measured."""
        return self._table(self._found, numpy.mean)

    def errors(self) -> Floats:
        """RETURNS (Floats): Standard errors of the means over the steps; NaN with less than two."""
        return self._table(self._found, lambda x: numpy.std(x, ddof=1) / math.sqrt(len(x)) if len(x) > 1 else math.nan)

    def mean_cosines(self) -> Floats:
        """RETURNS (Floats): Mean cosines of the tasks' gradients in batches that train both."""
        return self._table(self._cosines, numpy.mean)

    def counts(self) -> Floats:
        """RETURNS (Floats): How often each pair was measured."""
        return numpy.nan_to_num(self._table(self._found, len))

    def _table(self, found: Pairs, summary: Callable[[list[float]], object]) -> Floats:
        rows = [[summary(found[a, b]) if (a, b) in found else math.nan for b in self.tasks] for a in self.tasks]
        return numpy.array(rows, dtype="d")

    # One pass

    def _losses(self, batch: list[Example], gradients: TaskGradients | None = None) -> dict[str, float]:
        """Losses of all tasks on a batch. Gradients are dropped, or those of the backbone collected."""
        backbone, losses = self._backbone, dict[str, float]()
        fix_random_seed(self._seed)
        no_step = cast("Optimizer", False)
        self._nlp.update(batch, drop=0.0, sgd=no_step, losses=losses, exclude=self._exclude, annotates=self._annotates)
        pending = backbone.steps.pending
        backbone.steps.forget()
        if gradients is not None and pending is not None and pending.problem is None:
            gradients.collect(backbone, pending)
        for name, pipe in self._nlp.pipeline:
            if name not in self._exclude:
                drop_all(parameters_of(name, pipe))
        for shim in tunable_shims(backbone.model):
            shim.drop_gradients()
        return {name: float(loss) for name, loss in losses.items()}

    @contextlib.contextmanager
    def _shifted(self, gradient: Gradients) -> Iterator[None]:
        """The backbone after a step down a gradient."""
        named = [p for p in parameters_of(self._backbone.name, self._backbone) if p.name in gradient]
        parameters = [p.parameter for p in named]
        steps = [cast(Floats, as_array(gradient[p.name])) for p in named]
        kept = [cast(Floats, as_array(parameter.value).copy()) for parameter in parameters]
        share = self._length * _norm(kept) / _norm(steps)
        try:
            for parameter, value, step in zip(parameters, kept, steps, strict=True):
                parameter.put(cast(FloatsXd, value - share * step))
            yield
        finally:
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.put(cast(FloatsXd, value))


def check_backbone(backbone: "Backbone") -> None:
    """RAISES (ValueError): When layers of a backbone allow one backward pass only."""
    check_passes(backbone.name, parameters_of(backbone.name, backbone))


def _norm(arrays: list[Floats]) -> float:
    return math.sqrt(sum(float(array.reshape(-1) @ array.reshape(-1)) for array in arrays))
