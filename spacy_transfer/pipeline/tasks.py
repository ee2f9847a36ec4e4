"""What a backbone knows of its tasks, the components that listen to it: their weights, losses, and conflicts."""

import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from typing import Any, Literal

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example
from thinc.api import Model

from ..backbones.tunable import tunable_shims
from ..corpora.marks import training_mask
from ..errors import Errors
from ..tuning.surgery import cosines
from ..tuning.weighing import Seen, TaskWeights, Weights, start
from .gradients import PendingGradients
from .names import parameters_of
from .surgery import TaskGradients, check_passes

Surgery = Literal["pcgrad"]
WEIGHT = "task_weight"
"""Property of a component that scales its own loss, and so what it sends."""


class Tasks:
    """Follows the tasks of a backbone through a training.

    name (str): Name of the backbone.
    weighing (Optional[TaskWeights]): How much each task counts; null for all alike.
    surgery (Optional[str]): "pcgrad", or null to add gradients up.
    """

    def __init__(self, name: str, weighing: TaskWeights | None, surgery: Surgery | None) -> None:
        self._name = name
        self._weighing = weighing
        self.gradients = TaskGradients(name) if surgery is not None else None
        self._is_followed = False
        self._map: Any = None
        self._weigh_themselves: set[str] = set()
        self._report_means: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Begin anew: what has been learned, collected and counted belongs to a training."""
        self.weights: Weights | None = None if self._weighing is None else start(self._weighing)
        self._random: random.Random | None = None
        self._map = None
        self._before: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._size = 0
        self._step: dict[str, Seen] = {}
        self._shown: dict[str, Seen] = {}
        self._cosines: dict[tuple[str, str], list[float]] = {}
        if self.gradients is not None:
            self.gradients.forget()

    # Who they are

    def see(self, component: Any) -> None:
        """Take note of whether a component scales its own loss, and of what it reports.

        component (Pipe): A later component.
        """
        name, kind = getattr(component, "name", ""), type(component)
        self._weigh_themselves.discard(name)
        if hasattr(kind, WEIGHT):
            self._weigh_themselves.add(name)
        self._report_means.discard(name)
        if getattr(kind, "get_loss", None) is TextCategorizer.get_loss:
            self._report_means.add(name)

    def check(self, listener_map: dict[str, Any]) -> None:
        """Look at the settings once the tasks are known.

        listener_map (Dict[str, List[Tok2VecListener]]): Listeners, by the component they are in.
        RAISES (ValueError): When a weight names no task, or all are 0.
        """
        if listener_map is self._map or self.weights is None:
            return
        for name in self.weights.settings.weights:
            if name not in listener_map:
                near = get_close_matches(name, listener_map, n=3, cutoff=0.4)
                facts = {"near": near or "none", "found": sorted(listener_map) or "none"}
                raise ValueError(Errors.T409.format(backbone=self._name, name=name, **facts))
        self.weights.check(listener_map)
        self._map = listener_map

    def check_passes(self, pipe: Any) -> None:
        """RAISES (ValueError): When gradients are wanted task by task, and a layer of the backbone goes back only once.

        pipe (Backbone): The component, with weights.
        """
        if self.gradients is not None:
            check_passes(self._name, parameters_of(self._name, pipe))

    def add_up(self) -> None:
        """From now on gradients of tasks are added up, in the parameters."""
        self.gradients = None

    def follow(self) -> None:
        """Keep what `lines` tells of cosines: somebody asks for it from time to time."""
        self._is_followed = True

    # A batch

    def begin(self, listener_map: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """What tasks weigh in the coming batch.

        listener_map (Dict[str, List[Tok2VecListener]]): Listeners, by the component they are in.
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

    def note(self, tasks: Collection[str], examples: Sequence[Example], losses: Mapping[str, float]) -> None:
        """Remember what the losses are before the heads have run: the same dictionary has them afterwards.

        tasks (Collection[str]): Names of the tasks.
        examples (Sequence[Example]): The batch.
        losses (Mapping[str, float]): What components add their losses to.
        """
        self._before = {task: losses.get(task, 0.0) for task in tasks}
        self._counts = {task: int(training_mask(examples, task).sum()) for task in tasks}
        self._size = len(examples)

    def collect(self, pipe: Any, pending: PendingGradients, losses: Mapping[str, float]) -> None:
        """Send the gradients of a batch back, together or one task after the other, and take note of losses.

        pipe (Backbone): The component.
        pending (PendingGradients): What has arrived.
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
        """Without surgery the only gradients that tasks have apart are those of rows: told of the docs in which they
        meet."""
        for first, second in combinations(pending.tasks, 2) if self._is_followed else ():
            found = pending.products(first, second)
            if found is not None:
                product, *squares = found
                self._cosines.setdefault((first, second), []).append(product / math.sqrt(squares[0] * squares[1]))

    # A step

    def before_step(self, pipe: Any) -> None:
        """Give the optimizer what is to be stepped.

        pipe (Backbone): The component.
        """
        if not self.gradients:
            return
        names, products = self.gradients.products()
        for (i, first), (j, second) in combinations(enumerate(names), 2) if self._is_followed else ():
            cosine = float(cosines(products)[i, j])
            if math.isfinite(cosine):
                self._cosines.setdefault((first, second), []).append(cosine)
        if self._random is None:
            # A twin of Python's own generator is settled by the training's seed, and takes nothing from it.
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

    def drop(self) -> None:
        """Forget the batches of a step that is not made."""
        self._step = {}
        if self.gradients is not None:
            self.gradients.forget()

    # To be seen

    def lines(self) -> list[str]:
        """What there is to say of the steps since it was last asked: for each task the loss per example and the weight
        of the coming step; of tasks that met, the mean cosine between their gradients.

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


def collected_of(pipe: Any) -> TaskGradients | None:
    """RETURNS (Optional[TaskGradients]): Where a backbone with surgery keeps its gradients until the step; None for any
    other component, whose parameters have them.

    pipe (Pipe): Any component.
    """
    tasks = getattr(pipe, "tasks", None)
    return tasks.gradients if isinstance(tasks, Tasks) else None


def without_surgery(nlp: Language) -> None:
    """Have the gradients of tasks added up, in the parameters, from now on.

    nlp (Language): A pipeline, changed in place.
    """
    for _, pipe in nlp.pipeline:
        if collected_of(pipe) is not None:
            pipe.tasks.add_up()  # type: ignore[attr-defined]


def check_moves(name: str, model: Model, frozen: bool, settings: Iterable[tuple[str, Any]]) -> None:
    """Refuse settings that say how gradients come into a backbone which takes none.

    name (str): Name of the backbone.
    model (Model): The backbone.
    frozen (bool): Whether the component is frozen.
    settings (Iterable[Tuple[str, Any]]): Keys, and what they are set to.
    RAISES (ValueError): When one is set, and nothing moves.
    """
    tunings = [shim.tuning for shim in tunable_shims(model)]
    how = "frozen = true" if frozen else 'model.tuning.freeze = "all"'
    if not frozen and not (tunings and all(tuning is not None and tuning.freeze == "all" for tuning in tunings)):
        return
    for key, found in settings:
        if found is not None:
            raise ValueError(Errors.T410.format(name=name, key=key, how=how))
