"""The base class of all heads: one training step, which examples count in it, and labels at initialisation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Optimizer, set_dropout_rate

from ..._compat import send_zeros
from ...backbones.listeners import links_of
from ...corpora.example_info import may_train, training_mask
from ...corpora.mixed.label_cover import MOST as STREAM_SAMPLE
from ...errors import Errors
from ...heads.layers import forget
from ...heads.tagging.tokens import TokenScores
from ...types import ArrayModule, Bools, GetExamples, Ints, Losses
from ..checksums import CheckedFiles
from ..labels.frozen_rows import FrozenRows, ScoresT
from .distillation import SoftTargets, by_teacher

_HeadT = TypeVar("_HeadT", bound="Head[Any]")


class Head(CheckedFiles, Generic[ScoresT]):
    """A component that scores labels, targets or tags on the rows of a backbone. A subclass defines what goes into the
    model (`inputs`), how many rows of scores an example has (`n_rows`), and the loss of gold labels (`gold_loss`).

    Examples that a reader has given to other components (`corpora.example_info`) go through the model with their batch.
    Their loss and gradient are exactly 0.
    """

    frozen_rows: FrozenRows | None = None
    """The frozen rows of the weights; see `spacy_transfer.learn_only`."""
    takes_soft: str | None = None
    """The kind of a teacher's answers: "labels", "tags" or "rows"; None for a head without such a loss."""
    _given: tuple[str, ...] = ()
    _initialized: tuple[str, ...] | None = None

    @property
    def task_weight(self) -> float:
        """RETURNS (float): Factor of the gradients of this task, in the head and so in the backbone."""
        link = next(links_of(self.model), None)
        return 1.0 if link is None else link.weight

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: Losses | None = None,
    ) -> Losses:
        """Learn from a batch.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout, where the head does not set its own.
        sgd (Optional[Optimizer]): Step at once with this optimizer.
        losses (Optional[Dict[str, float]]): Gets the summed loss under the component's name, without the weight of
            the task. A regressor's is in standard deviations of its targets.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        own = [example for example in examples if may_train(example.reference, self.name)]
        self.check_gold(own)
        self._restore_frozen()
        if not self.has_rows([example.predicted for example in examples]):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(self.inputs(examples))
        if own:
            loss, d_scores = self.get_loss(examples, scores)
            backprop(self._weighted(d_scores))
            losses[self.name] += loss
        else:
            for node in self.model.walk():
                send_zeros(node)
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def from_disk(self: _HeadT, path: str | Path, *, exclude: Iterable[str] = ()) -> _HeadT:
        """Load the head.

        RETURNS (Head): self.
        RAISES (ValueError): When its labels are no names, or not as many as the rows of its output layer.
        """
        super().from_disk(path, exclude=exclude)
        if not {"cfg", "model"} & set(exclude):
            self._check_saved_labels(Path(path) / "cfg")
        return self

    def _check_saved_labels(self, path: Path) -> None:
        labels, problem = self.cfg.get("labels", []), None
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            problem = f"its labels are {str(labels)[:60]}, no list of names"
        elif self.model.has_ref("output") and self.model.get_ref("output").has_param("W"):
            rows, names = len(self.model.get_ref("output").get_param("W")), list(getattr(self, "tags", labels))
            if rows != len(names):
                problem = f"it has {len(labels)} labels, which need {len(names)} rows, and the output layer has {rows}"
        if problem is not None:
            raise ValueError(Errors.T437.format(where=path, error=problem))

    def rehearse(self, *args: object, **kwargs: object) -> Losses:
        """RAISES (ValueError): Always: see `spacy-transfer.Rehearsal.v1`."""
        raise ValueError(Errors.T450.format(name=self.name))

    def get_loss(self, examples: Iterable[Example], scores: ScoresT) -> tuple[float, ScoresT]:
        """Summed loss of a batch, and its gradient with respect to the logits, which is exactly 0 for examples that
        this component may not learn from.

        examples (Iterable[Example]): The batch.
        scores (Union[Floats2d, TokenScores]): What the model made of it.
        RETURNS (Tuple[float, Union[Floats2d, TokenScores]]): Loss and gradient, of the same shapes.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        may = training_mask(examples, self.name)
        if may.all():
            return self._loss(examples, scores)
        rows = numpy.repeat(may, self.n_rows(examples, scores))
        xp = self.model.ops.xp
        if not may.any():
            return 0.0, _spread(xp, None, rows, scores)
        own = [example for example, mine in zip(examples, may, strict=True) if mine]
        loss, gradient = self._loss(own, _part(xp, scores, rows, may))
        return loss, _spread(xp, gradient, rows, scores)

    def _loss(self, examples: Sequence[Example], scores: ScoresT) -> tuple[float, ScoresT]:
        """The loss of examples that all count, in groups with the same teacher (`soft_of`)."""
        groups = by_teacher(examples, self.name)
        if len(groups) == 1:
            return self._group_loss(examples, scores, groups[0].targets)
        xp, n_rows, total = self.model.ops.xp, self.n_rows(examples, scores), 0.0
        gradient: ScoresT | None = None
        for group in groups:
            rows = numpy.repeat(group.mask, n_rows)
            own = [example for example, mine in zip(examples, group.mask, strict=True) if mine]
            loss, d_own = self._group_loss(own, _part(xp, scores, rows, group.mask), group.targets)
            total += loss
            d_all = _spread(xp, d_own, rows, scores)
            gradient = d_all if gradient is None else _plus(gradient, d_all)
        assert gradient is not None
        return total, gradient

    def _group_loss(
        self, examples: Sequence[Example], scores: ScoresT, targets: SoftTargets | None
    ) -> tuple[float, ScoresT]:
        loss, d_scores = self.gold_loss(examples, scores)
        if targets is None:
            return loss, d_scores
        soft_loss, d_soft = self.soft_loss(examples, scores, targets)
        weight = targets.weight
        gradient = _plus(_scaled(d_scores, 1.0 - weight), _scaled(d_soft, weight))
        return (1.0 - weight) * loss + weight * soft_loss, gradient

    # What a subclass defines

    def check_gold(self, examples: Sequence[Example]) -> None:
        """Check the labels of what will be learned from, before anything is computed.

        examples (Sequence[Example]): Those of a batch that this component may learn from.
        RAISES (ValueError): When they are wrong.
        """

    def has_rows(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether there is anything to score."""
        return True

    def inputs(self, examples: Sequence[Example]) -> object:
        """RETURNS (object): What the model reads; all examples of the batch, since listeners check it."""
        return [example.predicted for example in examples]

    def n_rows(self, examples: Sequence[Example], scores: ScoresT) -> Ints:
        """RETURNS (Array): How many rows of the scores belong to each example, int, shape (n_examples,)."""
        return numpy.ones(len(examples), dtype=numpy.int64)

    def gold_loss(self, examples: Sequence[Example], scores: ScoresT) -> tuple[float, ScoresT]:
        """Summed loss against gold labels, and its gradient with respect to the logits. Missing labels have no loss.

        examples (Sequence[Example]): Those that this component may learn from.
        """
        raise NotImplementedError

    def soft_loss(self, examples: Sequence[Example], scores: ScoresT, targets: SoftTargets) -> tuple[float, ScoresT]:
        """Summed loss against a teacher's answers, before its weight, and its gradient with respect to the logits.

        examples (Sequence[Example]): Those that this component may learn from, and a teacher has seen.
        """
        raise ValueError(Errors.T434.format(name=self.name, found=targets.teacher["kind"], wanted=self.takes_soft))

    def own_examples(self, get_examples: GetExamples) -> Callable[[], Iterator[Example]]:
        """For `initialize`: labels of examples that train others alone are not this component's.

        RETURNS (Callable[[], Iterator[Example]]): Returns those that this component may learn from.
        """
        return lambda: (example for example in get_examples() if may_train(example.reference, self.name))

    @staticmethod
    def sees_only_sample(nlp: Language | None, n_examples: int) -> bool:
        """For `initialize`: whether counts are those of a sample, not of the corpus.

        n_examples (int): How many examples came, those of others too.
        RETURNS (bool): Whether they are only the beginning of a corpus that is streamed or sampled.
        """
        training = {} if nlp is None else nlp.config.interpolate().get("training", {})
        return training.get("max_epochs") == -1 and n_examples == STREAM_SAMPLE

    @property
    def given_labels(self) -> list[str]:
        """RETURNS (List[str]): Labels that were added by hand; those that `initialize` found do not count."""
        labels: list[str] = list(self.labels)
        if not self.model.get_ref("output").has_param("W"):
            return labels
        before: Sequence[str] = labels if self._initialized is None else self._initialized
        return [*self._given, *(label for label in labels if label not in before)]

    def start_fresh(self, labels: Iterable[str]) -> None:
        """For `initialize`: reset the model, and set the labels. A second call gives the same as the first.

        labels (Iterable[str]): Those that were found or asked for; they come after those that were added by hand.
        """
        self._given, self.frozen_rows = tuple(self.given_labels), None
        forget(self.model.get_ref("output"))
        self.cfg["labels"] = []
        for label in (*self._given, *labels):
            self.add_label(label)
        self._initialized = tuple(self.labels)

    # Frozen rows

    def _weighted(self, d_scores: ScoresT) -> ScoresT:
        """The gradient for the backward pass: 0 for frozen rows, times the weight of the task."""
        if self.frozen_rows is not None:
            d_scores = self.frozen_rows.zero_frozen(d_scores)
        weight = self.task_weight
        return d_scores if weight == 1.0 else _scaled(d_scores, weight)

    def _restore_frozen(self) -> None:
        """Our optimizers make the step after `finish_update`, in `step_schedules`: so this is called again wherever
        the weights are read."""
        if self.frozen_rows is not None:
            self.frozen_rows.restore()

    def finish_update(self, sgd: Optimizer) -> None:
        """Step, and restore the frozen rows: see `spacy_transfer.learn_only`.

        sgd (Optimizer): The optimizer.
        """
        super().finish_update(sgd)
        self._restore_frozen()

    def before_saving(self) -> None:
        """Frozen rows are saved as they were."""
        self._restore_frozen()


def _as_given(scores: ScoresT, found: object) -> ScoresT:
    return cast(ScoresT, found)


def _part(xp: ArrayModule, scores: ScoresT, rows: Bools, docs: Bools) -> ScoresT:
    """Scores of some of the examples, by their rows; and by their docs, where scores hold the docs' lengths."""
    if isinstance(scores, TokenScores):
        part = TokenScores(scores.logits[xp.asarray(rows)], scores.lengths[docs], scores.transitions)
        return _as_given(scores, part)
    return scores[xp.asarray(rows)]


def _scaled(gradient: ScoresT, factor: float) -> ScoresT:
    if isinstance(gradient, TokenScores):
        return _as_given(gradient, gradient.scaled(factor))
    return gradient * factor


def _plus(gradient: ScoresT, other: ScoresT) -> ScoresT:
    if isinstance(gradient, TokenScores) and isinstance(other, TokenScores):
        return _as_given(gradient, gradient.plus(other))
    return _as_given(gradient, gradient + other)


def _spread(xp: ArrayModule, gradient: ScoresT | None, rows: Bools, scores: ScoresT) -> ScoresT:
    """The gradient of some rows among zeros, in the shape of all scores. None is no row at all."""
    if isinstance(scores, TokenScores):
        between, logits = None if scores.transitions is None else scores.transitions.map(numpy.zeros_like), None
        if isinstance(gradient, TokenScores):
            between, logits = gradient.transitions, gradient.logits
        return _as_given(scores, TokenScores(_spread(xp, logits, rows, scores.logits), scores.lengths, between))
    spread = xp.zeros_like(scores)
    if gradient is not None:
        spread[xp.asarray(rows)] = gradient
    return spread
