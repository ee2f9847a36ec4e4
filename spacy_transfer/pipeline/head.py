"""What all components with a head of ours share: how they learn from a batch, what of it they may learn from, and which
rows of their weights stay."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import set_dropout_rate

from .._compat import send_zeros
from ..backbones.listeners import links_of
from ..corpora.cover import MOST as STREAM_SAMPLE
from ..corpora.marks import may_train, training_mask
from ..errors import Errors
from ..heads.layers import forget
from ..heads.tokens import TokenScores
from .saving import CheckedFiles
from .soft import Targets, lessons_of
from .still import StillRows


class Head(CheckedFiles, TrainablePipe):
    """A component that scores labels, targets or tags on the rows of a backbone. A subclass says what goes into the
    model (`inputs`), how many rows of scores an example has (`n_rows`), and what gold labels cost (`gold_loss`).

    Examples that a reader has given to other components (`corpora.marks`) go through the model with their batch, and
    cost exactly nothing: their labels are another task's.
    """

    still: StillRows | None = None
    """What of the weights stays; see `spacy_transfer.learn_only`."""
    _given: tuple[str, ...] = ()
    _initialized: tuple[str, ...] | None = None

    @property
    def task_weight(self) -> float:
        """RETURNS (float): By how much the gradients of this task are scaled, in the head and so in the backbone."""
        return next((link.weight for link in links_of(self.model)), 1.0)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Any = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
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
        self._put_back()
        if not self.has_rows([example.predicted for example in examples]):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(self.inputs(examples))
        if own:
            loss, d_scores = self.get_loss(examples, scores)
            backprop(self._sent_back(d_scores))
            losses[self.name] += loss
        else:
            for node in self.model.walk():
                send_zeros(node)
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def rehearse(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """RAISES (ValueError): Always: see `spacy-transfer.Rehearsal.v1`."""
        raise ValueError(Errors.T450.format(name=self.name))

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
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

    def _loss(self, examples: Sequence[Example], scores: Any) -> tuple[float, Any]:
        """Of examples that may all be learned from. What a teacher left for them (`marks.soft_of`) joins here."""
        lessons = lessons_of(examples, self.name)
        if len(lessons) == 1:
            return self._lesson_loss(examples, scores, lessons[0].targets)
        xp, n_rows, total = self.model.ops.xp, self.n_rows(examples, scores), 0.0
        gradient: Any = None
        for lesson in lessons:
            rows = numpy.repeat(lesson.mask, n_rows)
            own = [example for example, mine in zip(examples, lesson.mask, strict=True) if mine]
            loss, d_own = self._lesson_loss(own, _part(xp, scores, rows, lesson.mask), lesson.targets)
            total += loss
            d_all = _spread(xp, d_own, rows, scores)
            gradient = d_all if gradient is None else _plus(gradient, d_all)
        return total, gradient

    def _lesson_loss(self, examples: Sequence[Example], scores: Any, targets: Targets | None) -> tuple[float, Any]:
        loss, d_scores = self.gold_loss(examples, scores)
        if targets is None:
            return loss, d_scores
        soft_loss, d_soft = self.soft_loss(examples, scores, targets)
        weight = targets.weight
        gradient = _plus(_scaled(d_scores, 1.0 - weight), _scaled(d_soft, weight))
        return (1.0 - weight) * loss + weight * soft_loss, gradient

    # What a subclass says

    def check_gold(self, examples: Sequence[Example]) -> None:
        """Look at the labels of what will be learned from, before anything is computed.

        examples (Sequence[Example]): Those of a batch that this component may learn from.
        RAISES (ValueError): When they are wrong.
        """

    def has_rows(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether there is anything to score."""
        return True

    def inputs(self, examples: Sequence[Example]) -> Any:
        """RETURNS (Any): What the model reads; all examples of the batch, since listeners check it."""
        return [example.predicted for example in examples]

    def n_rows(self, examples: Sequence[Example], scores: Any) -> Any:
        """RETURNS (Array): How many rows of the scores belong to each example, int, shape (n_examples,)."""
        return numpy.ones(len(examples), dtype="int64")

    def gold_loss(self, examples: Sequence[Example], scores: Any) -> tuple[float, Any]:
        """Summed loss against gold labels, and its gradient with respect to the logits. Labels that are missing cost
        nothing.

        examples (Sequence[Example]): Those that this component may learn from.
        scores (Union[Floats2d, TokenScores]): Theirs.
        RETURNS (Tuple[float, Union[Floats2d, TokenScores]]): Loss and gradient.
        """
        raise NotImplementedError

    takes_soft: str | None = None
    """Of which kind a teacher's answers must be: "labels", "tags" or "rows"; None for a head that has no such loss."""

    def soft_loss(self, examples: Sequence[Example], scores: Any, targets: Targets) -> tuple[float, Any]:
        """Summed loss against what a teacher says, before its weight, and its gradient with respect to the logits.

        examples (Sequence[Example]): Those that this component may learn from, and a teacher has seen.
        scores (Union[Floats2d, TokenScores]): Theirs.
        targets (Targets): What it says.
        RETURNS (Tuple[float, Union[Floats2d, TokenScores]]): Loss and gradient.
        """
        raise ValueError(Errors.T434.format(name=self.name, found=targets.teacher["kind"], wanted=self.takes_soft))

    def own_examples(self, get_examples: Callable[[], Iterable[Example]]) -> Callable[[], Iterator[Example]]:
        """For `initialize`: labels of examples that train others alone are not this component's.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        RETURNS (Callable[[], Iterator[Example]]): Returns those that this component may learn from.
        """
        return lambda: (example for example in get_examples() if may_train(example.reference, self.name))

    @staticmethod
    def sees_a_part(nlp: Language | None, n_examples: int) -> bool:
        """For `initialize`: what is counted over a corpus cannot be counted there.

        nlp (Optional[Language]): The pipeline.
        n_examples (int): How many examples came, those of others too.
        RETURNS (bool): Whether they are only the beginning of a corpus that is streamed or sampled.
        """
        training = {} if nlp is None else nlp.config.interpolate().get("training", {})
        return training.get("max_epochs") == -1 and n_examples == STREAM_SAMPLE

    @property
    def given_labels(self) -> list[str]:
        """RETURNS (List[str]): Labels that were added by hand; those that `initialize` found do not count."""
        labels = list(self.labels)
        if not self.model.get_ref("output").has_param("W"):
            return labels
        before = labels if self._initialized is None else self._initialized
        return [*self._given, *(label for label in labels if label not in before)]

    def begin_anew(self, labels: Iterable[str]) -> None:
        """For `initialize`: forget what was learned, and take labels. A second time gives what the first gave.

        labels (Iterable[str]): Those that were found or asked for; they come after those that were added by hand.
        """
        self._given, self.still = tuple(self.given_labels), None
        forget(self.model.get_ref("output"))
        self.cfg["labels"] = []
        for label in (*self._given, *labels):
            self.add_label(label)
        self._initialized = tuple(self.labels)

    # What stays

    def _sent_back(self, d_scores: Any) -> Any:
        if self.still is not None:
            d_scores = self.still.only_moving(d_scores)
        weight = self.task_weight
        return d_scores if weight == 1.0 else _scaled(d_scores, weight)

    def _put_back(self) -> None:
        """Our optimizers make the step after `finish_update`, in `step_schedules`: so this is done once more wherever
        the weights are read."""
        if self.still is not None:
            self.still.restore()

    def finish_update(self, sgd: Any) -> None:
        """Step, and put back what shall stay: see `spacy_transfer.learn_only`.

        sgd (Optimizer): The optimizer.
        """
        super().finish_update(sgd)
        self._put_back()

    def before_saving(self) -> None:
        """What is saved has what shall stay as it was."""
        self._put_back()


def _part(xp: Any, scores: Any, rows: Any, docs: Any) -> Any:
    """Scores of some of the examples, by their rows; and by their docs, where scores know the docs' lengths."""
    if isinstance(scores, TokenScores):
        return TokenScores(scores.logits[xp.asarray(rows)], scores.lengths[docs], scores.transitions)
    return scores[xp.asarray(rows)]


def _scaled(gradient: Any, factor: float) -> Any:
    return gradient.scaled(factor) if isinstance(gradient, TokenScores) else gradient * factor


def _plus(gradient: Any, other: Any) -> Any:
    return gradient.plus(other) if isinstance(gradient, TokenScores) else gradient + other


def _spread(xp: Any, gradient: Any, rows: Any, scores: Any) -> Any:
    """The gradient of some rows among zeros, in the shape of all scores. None is no row at all."""
    if isinstance(scores, TokenScores):
        if gradient is None:
            nothing = None if scores.transitions is None else scores.transitions.map(numpy.zeros_like)
            return TokenScores(xp.zeros_like(scores.logits), scores.lengths, nothing)
        return TokenScores(_spread(xp, gradient.logits, rows, scores.logits), scores.lengths, gradient.transitions)
    spread: Any = xp.zeros_like(scores)
    if gradient is not None:
        spread[xp.asarray(rows)] = gradient
    return spread
