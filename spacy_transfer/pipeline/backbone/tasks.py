"""The tasks of a backbone, which are the components that listen to it: their weights, losses, and conflicts."""

import math
import random
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from typing import Literal

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example
from thinc.api import Model

from ...backbones.shims.tunable import tunable_shims
from ...corpora.example_info import training_mask
from ...errors import Errors
from ...tuning.pcgrad import cosines
from ...tuning.weighing import Seen, TaskWeights, Weights, start
from ...types import Config, Losses, Pipe
from ..parameters import parameters_of
from .gradients import PendingGradients
from .pcgrad import TaskGradients, check_passes

Surgery = Literal["pcgrad"]
WEIGHT = "task_weight"
"""Property of a component that scales its own loss, and so what it sends."""


class Tasks:
    """Follows the tasks of a backbone through a training.

    weighing (Optional[TaskWeights]): How much each task counts; null for all alike.
    surgery (Optional[str]): "pcgrad", or null to add gradients up.
    """

    def __init__(self, name: str, weighing: TaskWeights | None, surgery: Surgery | None) -> None:
        self._name = name
        self._weighing = weighing
        self.gradients = TaskGradients(name) if surgery is not None else None
        self._records_cosines = False
        self._weigh_themselves: set[str] = set()
        self._report_means: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Begin anew: weights, gradients, counts and losses belong to one training."""
        self.weights: Weights | None = None if self._weighing is None else start(self._weighing)
        self._random: random.Random | None = None
        self._before: Losses = {}
        self._counts: dict[str, int] = {}
        self._size = 0
        self._step: dict[str, Seen] = {}
        self._shown: dict[str, Seen] = {}
        self._cosines: dict[tuple[str, str], list[float]] = {}
        if self.gradients is not None:
            self.gradients.forget()

    def training_state(self) -> Config:
        """RETURNS (Dict[str, Any]): What a training that goes on needs, for JSON."""
        weights = None if self.weights is None else self.weights.training_state()
        return {"weights": weights, "random": None if self._random is None else self._random.getstate()}

    def set_training_state(self, state: Config) -> None:
        """Begin with what `training_state` gave."""
        if self.weights is not None:
            self.weights.set_training_state(state["weights"])
        if state["random"] is not None:
            version, numbers, gauss = state["random"]
            self._random = random.Random()
            self._random.setstate((version, tuple(numbers), gauss))

    # Settings

    def add_component(self, component: object) -> None:
        """Remember of a later component whether it scales its own loss, and whether it reports means."""
        name, kind = getattr(component, "name", ""), type(component)
        self._weigh_themselves.discard(name)
        if hasattr(kind, WEIGHT):
            self._weigh_themselves.add(name)
        self._report_means.discard(name)
        if getattr(kind, "get_loss", None) is TextCategorizer.get_loss:
            self._report_means.add(name)

    def check(self, listener_map: Collection[str]) -> None:
        """Look at the settings once the tasks are known.

        RAISES (ValueError): When a weight names no task, or all are 0.
        """
        if self.weights is None:
            return
        for name in self.weights.settings.weights:
            if name not in listener_map:
                near = get_close_matches(name, listener_map, n=3, cutoff=0.4)
                facts = {"near": near or "none", "found": sorted(listener_map) or "none"}
                raise ValueError(Errors.T409.format(backbone=self._name, name=name, **facts))
        self.weights.check(listener_map)

    def check_passes(self, pipe: Pipe) -> None:
        """RAISES (ValueError): When gradients are wanted task by task, and a layer has one backward pass only."""
        if self.gradients is not None:
            check_passes(self._name, parameters_of(self._name, pipe))

    def stop_pcgrad(self) -> None:
        """From now on gradients of tasks are added up, in the parameters."""
        self.gradients = None

    def record_cosines(self) -> None:
        """Keep cosines between gradients for `lines`."""
        self._records_cosines = True

    # A batch

    def start_batch(self, listener_map: Collection[str]) -> tuple[dict[str, float], dict[str, float]]:
        """Weights of tasks for the coming batch.

        RETURNS (Tuple[Dict[str, float], Dict[str, float]]): Factors on the gradients of tasks that do not know of it,
            and weights for those that scale their own loss.
        """
        self.check(listener_map)
        if self.weights is None:
            return {}, {}
        weights = {task: self.weights.of(task) for task in listener_map}
        themselves = self._weigh_themselves
        scales = {task: weight for task, weight in weights.items() if task not in themselves}
        return scales, {task: weight for task, weight in weights.items() if task in themselves}

    def remember_losses(self, tasks: Collection[str], examples: Sequence[Example], losses: Mapping[str, float]) -> None:
        """Remember the losses as they are before the heads have run.

        losses (Mapping[str, float]): What components add their losses to.
        """
        self._before = {task: losses.get(task, 0.0) for task in tasks}
        self._counts = {task: int(training_mask(examples, task).sum()) for task in tasks}
        self._size = len(examples)

    def collect(self, pipe: Pipe, pending: PendingGradients, losses: Mapping[str, float]) -> None:
        """Send the gradients of a batch back, together or one task after the other, and record losses.

        losses (Mapping[str, float]): As after the heads have run.
        """
        if self.gradients is None:
            pending.backprop()
            self._compare_rows(pending)
        else:
            self.gradients.collect(pipe, pending)
        for task, squares in pending.squares.items():
            loss = float(losses.get(task, 0.0)) - float(self._before.get(task, 0.0))
            if task in self._report_means:
                # spaCy's text classifiers report the mean over all examples of a batch, other components a sum.
                loss *= self._size
            if squares and self._counts.get(task) and math.isfinite(loss):
                self._step.setdefault(task, Seen()).add(Seen(loss, self._counts[task], squares))

    def _compare_rows(self, pending: PendingGradients) -> None:
        """Without PCGrad only the gradients of rows are known per task. Compared are docs in which both have one."""
        for first, second in combinations(pending.tasks, 2) if self._records_cosines else ():
            found = pending.products(first, second)
            if found is not None:
                product, *squares = found
                self._cosines.setdefault((first, second), []).append(product / math.sqrt(squares[0] * squares[1]))

    # A step

    @property
    def seen(self) -> dict[str, Seen]:
        """Losses and gradients of the coming step, by task: what the weights learn from."""
        return self._step

    def before_step(self, pipe: Pipe) -> None:
        """With PCGrad: project the gradients, and give them to the optimizer."""
        if not self.gradients:
            return
        names, products = self.gradients.products()
        for (i, first), (j, second) in combinations(enumerate(names), 2) if self._records_cosines else ():
            cosine = float(cosines(products)[i, j])
            if math.isfinite(cosine):
                self._cosines.setdefault((first, second), []).append(cosine)
        if self._random is None:
            # A copy of Python's own generator depends on the training's seed, and draws no number from it.
            self._random = random.Random()
            self._random.setstate(random.getstate())
        self.gradients.merge(pipe, products, self._random)

    def after_step(self) -> None:
        """Let the weights learn from the step that was made."""
        step, self._step = self._step, {}
        if self.weights is not None:
            self.weights.learn(step)
        for task, seen in step.items():
            self._shown.setdefault(task, Seen()).add(seen)

    def drop_step(self) -> None:
        """Forget the batches of a step that is not made."""
        self._step = {}
        if self.gradients is not None:
            self.gradients.forget()

    # Logging

    def lines(self) -> list[str]:
        """Lines on the steps since the last call: for each task the loss per example and the weight of the coming step;
        the mean cosine between the gradients of any two tasks.

        RETURNS (List[str]): Nothing where there are less than two tasks.
        """
        shown, self._shown = self._shown, {}
        means, self._cosines = {pair: float(numpy.mean(c)) for pair, c in self._cosines.items()}, {}
        if len(shown) < 2:
            return []
        weights = {task: 1.0 if self.weights is None else self.weights.of(task) for task in shown}
        tasks = [f"{task} loss {seen.mean:.3g} weight {weights[task]:.3g}" for task, seen in shown.items()]
        of = "" if self.gradients is not None else "rows' "
        pairs = [f"{first} / {second} {cosine:+.2f}" for (first, second), cosine in means.items()]
        return [", ".join(tasks), *([f"cosines of {of}gradients: {', '.join(pairs)}"] if pairs else [])]


def collected_of(pipe: object) -> TaskGradients | None:
    """RETURNS (Optional[TaskGradients]): Where a backbone with PCGrad keeps its gradients until the step; None for any
    other component, whose parameters have them."""
    tasks = getattr(pipe, "tasks", None)
    return tasks.gradients if isinstance(tasks, Tasks) else None


def without_surgery(nlp: Language) -> None:
    """Have the gradients of tasks added up, in the parameters, from now on."""
    for _, pipe in nlp.pipeline:
        tasks = getattr(pipe, "tasks", None)
        if isinstance(tasks, Tasks):
            tasks.stop_pcgrad()


def check_moves(name: str, model: Model, frozen: bool, settings: Mapping[str, object]) -> None:
    """Refuse settings on the gradients of a backbone that is frozen.

    RAISES (ValueError): When one is set, and all is frozen.
    """
    tunings = [shim.tuning for shim in tunable_shims(model)]
    how = "frozen = true" if frozen else 'model.tuning.freeze = "all"'
    if not frozen and not (tunings and all(tuning is not None and tuning.freeze == "all" for tuning in tunings)):
        return
    for key, found in settings.items():
        if found is not None:
            raise ValueError(Errors.T410.format(name=name, key=key, how=how))
