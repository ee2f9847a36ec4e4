"""The base class of `transfer_textcat` and `transfer_textcat_multilabel`: labels, masked losses, initialisation."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from typing import Literal

from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from ...backbones.listeners import name_head
from ...checks import BELOW_ONE, NOT_NEGATIVE, SHARE, require
from ...corpora.example_info import may_train
from ...errors import Errors
from ...heads.calibration import LabelDecisions
from ...heads.label_texts import label_texts
from ...heads.losses import Focus, balanced_weights, binary_cross_entropy, cross_entropy
from ...heads.maxent import Evidence, weigh
from ...heads.textcat import TextCatAttrs
from ...types import Floats, GetExamples, Pipe
from ..argument_groups import takes
from ..labels.carry import Carry
from .base import Head
from .categories import Cats, SeenTexts, categories_of, check_scored, check_trained, other_classifiers, warn_of_unknown
from .distillation import Answer, SoftTargets, Teacher, label_loss, taught_labels
from .maxent_start import Start, start_from_maxent

ClassWeights = Literal["balanced"] | dict[str, float] | None


@dataclass(frozen=True)
class LossSettings:
    """Settings of the loss of a classifier; see `make_textcat`."""

    label_smoothing: float = 0.0
    class_weights: ClassWeights = None
    focal: float = 0.0
    focal_negative: float | None = None
    margin: float = 0.0


class Classifier(Head[Floats], TextCategorizer):  # type: ignore[misc]  # spaCy says that its gradient is a float.
    """What both classifiers share: cross-entropy with masks, soft labels, smoothing and weights."""

    exclusive = True
    takes_soft = "labels"
    _others: list[Pipe] | None = None
    """Other components with categories, where all their labels are known; found by `initialize`."""
    _has_warned = False

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        loss: LossSettings,
        *,
        threshold: float,
        scorer: Callable | None,
    ) -> None:
        super().__init__(vocab, model, name, threshold=threshold, scorer=scorer)
        require(f"components.{name}", SHARE, threshold=threshold)
        if isinstance(loss.class_weights, dict):
            require(f"components.{name}.class_weights", NOT_NEGATIVE, **loss.class_weights)
        name_head(model, name)
        if not 0.0 <= loss.label_smoothing < 1.0:
            raise ValueError(Errors.T301.format(name=name, found=loss.label_smoothing))
        if not 0.0 <= loss.focal < float("inf"):
            raise ValueError(Errors.T350.format(name=name, found=loss.focal))
        require(f"components.{name}", NOT_NEGATIVE, focal_negative=loss.focal_negative)
        require(f"components.{name}", BELOW_ONE, margin=loss.margin)
        if TextCatAttrs.of(model).multi_label == self.exclusive:
            raise ValueError(Errors.T302.format(name=name, wanted=str(self.exclusive).lower()))
        self.cfg.update(**vars(loss), weights=None)

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Scores of a batch. A doc without tokens is scored like any other, by the head's biases.

        docs (Iterable[Doc]): The docs.
        RETURNS (Floats2d): Probabilities, shape (n_docs, n_labels).
        """
        if not self.model.get_ref("output").has_param("W"):
            raise ValueError(Errors.T303.format(name=self.name))
        self._restore_frozen()
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Iterable[Doc], scores: Floats2d) -> None:
        """Write scores to `doc.cats`. spaCy's own way, number by number, is slow with many labels.

        docs (Iterable[Doc]): The docs.
        scores (Floats2d): What `predict` found, shape (n_docs, n_labels).
        """
        labels = self.labels
        for doc, row in zip(docs, self.model.ops.to_numpy(scores).tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))

    def add_label(self, label: str) -> int:
        """RETURNS (int): 0 if the label was there, 1 otherwise. The others keep their weights bit for bit."""
        is_new = super().add_label(label)
        if is_new:
            self.frozen_rows = None  # It holds numbers of rows.
        return is_new

    def gold_loss(self, examples: Sequence[Example], scores: Floats) -> tuple[float, Floats]:
        """Summed cross-entropy, and its gradient with respect to the logits."""
        truths, mask = self._examples_to_truth(examples)
        weights = None if self.cfg["weights"] is None else self.model.ops.xp.asarray(self.cfg["weights"], dtype="f")
        given = self.model.ops.xp, scores, truths, mask, weights, self.cfg["label_smoothing"]
        # Pipelines that were saved earlier have fewer settings.
        focal, negative = self.cfg.get("focal", 0.0), self.cfg.get("focal_negative")
        if self.exclusive:
            return cross_entropy(*given, focal)
        focus = Focus(focal, focal if negative is None else negative, self.cfg.get("margin", 0.0))
        return binary_cross_entropy(*given, focus)

    def soft_loss(self, examples: Sequence[Example], scores: Floats, targets: SoftTargets) -> tuple[float, Floats]:
        """RETURNS (Tuple[float, Floats2d]): See `label_loss`."""
        return label_loss(self, targets, scores)

    def soft_targets(self, docs: Sequence[Doc]) -> tuple[Teacher, list[Answer]]:
        """This classifier's answers as a teacher.

        RETURNS (Tuple[Teacher, List[Answer]]): "labels" and "exclusive"; for each doc its "logits", at
            the temperature it was calibrated to.
        """
        shared: Teacher = {"labels": list(self.labels), "exclusive": self.exclusive}
        temperature = TextCatAttrs.of(self.model).temperature
        return shared, [{"logits": row / temperature} for row in (self._logits(docs) if docs else ())]

    def _logits(self, docs: Sequence[Doc]) -> Floats:
        self._restore_frozen()
        inputs, _ = TextCatAttrs.of(self.model).states(self.model, list(docs), False)
        return self.model.ops.to_numpy(self.model.get_ref("output").predict(inputs))

    def is_labelled(self, example: Example) -> bool:
        """RETURNS (bool): Whether a text says anything to `fit = "maxent"`."""
        return bool(example.reference.cats)

    def weigh(self, examples: Iterable[Example]) -> Evidence:
        """RETURNS (Evidence): Labels of examples in the weights of this loss, shape (n_examples, n_labels)."""
        truths, mask = (self.model.ops.to_numpy(part) for part in self._examples_to_truth(examples))
        return weigh(truths, mask, self.cfg["weights"], self.cfg["label_smoothing"], self.exclusive)

    def decisions(self, examples: Iterable[Example]) -> LabelDecisions:
        """The decisions about texts, for `heads.calibration`.

        RETURNS (LabelDecisions): Shape (n_examples, n_labels).
        RAISES (ValueError): When categories are no probabilities.
        """
        examples = list(self.own_examples(lambda: examples)())
        self._check_all(examples)
        truths, mask = self._examples_to_truth(examples)
        logits = self._logits([eg.predicted for eg in examples])
        logits, truths, mask = (self.model.ops.to_numpy(array).astype("d") for array in (logits, truths, mask))
        return LabelDecisions(logits, truths, mask, self.exclusive)

    def fit_thresholds(self, parts: list[LabelDecisions]) -> dict[str, float] | None:
        """Labels that exclude each other have no thresholds: the highest score decides.

        RETURNS (Optional[Dict[str, float]]): None.
        """
        return None

    def _examples_to_truth(self, examples: Iterable[Example]) -> tuple[Floats, Floats]:
        """Targets, and a mask that is 0 where they are missing."""
        examples = list(examples)
        truths = self.model.ops.xp.zeros((len(examples), len(self.labels)), dtype="f")
        mask = self.model.ops.xp.zeros((len(examples), len(self.labels)), dtype="f")
        for i, example in enumerate(examples):
            cats = example.reference.cats
            for j, label in enumerate(self.labels):
                if label in cats:
                    truths[i, j], mask[i, j] = cats[label], 1.0
            if self.exclusive:
                # Where the given labels add up to 1, the others are 0. Otherwise it is not known which label holds.
                mask[i] = 1.0 if abs(float(truths[i].sum()) - 1.0) < 1e-3 else 0.0
        return truths, mask

    def check_gold(self, examples: Sequence[Example]) -> None:
        """RAISES (ValueError): When categories are no probabilities, or those that exclude each other do not. Labels of
        other components do not count; those of no component are reported once."""
        self._check_all(examples)
        # Where a component is trained without `initialize`, the others are not known.
        if self._others is not None and not self._has_warned:
            self._has_warned = warn_of_unknown(self.name, self.labels, self._others, examples)

    def _check_all(self, examples: Iterable[Example]) -> None:
        labels = set(self.labels)
        for example in examples:
            self._checked(example, labels)

    def _checked(self, example: Example, labels: Collection[str] | None) -> Cats:
        own = categories_of(example, labels)
        check_trained(self.name, example, own, self.exclusive, self.labels)
        return own

    def score(self, examples: Iterable[Example], **kwargs: object) -> dict[str, object]:
        """RETURNS (Dict[str, object]): The scorer's.

        RAISES (ValueError): When a category is no number.
        """
        examples = list(examples)
        labels = set(self.labels)
        for example in examples:
            check_scored(self.name, example, categories_of(example, labels))
        return super().score(examples, **kwargs)

    @takes(start=Start, carry=Carry)
    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        start: Start,
        carry: Carry,
    ) -> None:
        """Find the labels and build the head. Labels and class weights come from the whole corpus: rare labels may come
        late.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        labels (Optional[Iterable[str]]): The labels, if they are known already.
        start (Start): How the output layer starts; the fields of `Start` are keys of the block.
        carry (Carry): What is taken from another pipeline; the fields of `Carry` are keys of the block.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        start.check(self, nlp)
        carry.check(self.name, start.fit)
        self._others, self._has_warned = other_classifiers(nlp, self), False
        n_examples, n_labelled, is_taught, own = 0, 0, False, self.own_examples(get_examples)
        found: dict[str, None] = dict.fromkeys(labels or ())
        known = None if labels is None else {*found, *self.given_labels}
        seen = SeenTexts(self.name, self.exclusive)
        for example in get_examples():
            n_examples += 1
            if not may_train(example.reference, self.name):
                continue
            cats = self._checked(example, known)
            n_labelled += bool(cats)
            seen.add(example.reference, cats)
            taught = taught_labels(example, self.name)
            is_taught |= bool(taught)
            if labels is None:
                found |= dict.fromkeys((*cats, *taught))
        if not (found or self.given_labels):
            found = dict.fromkeys(start.described)
        texts = label_texts(self.name, start.label_texts, {**dict.fromkeys(self.given_labels), **found}, self.exclusive)
        self.start_fresh(found)
        if start.label_texts is not None and not self.labels:
            raise ValueError(Errors.T924.format(name=self.name))
        # Labels that were added in code are enough, as for spaCy's own classifier.
        if not (n_labelled or is_taught or texts or self.given_labels) or not self.labels:
            raise ValueError(Errors.T307.format(name=self.name))
        if self.exclusive and len(self.labels) < 2:
            raise ValueError(Errors.T308.format(name=self.name, label=self.labels[0]))
        if start.fit is not None and self.sees_only_sample(nlp, n_examples):
            raise ValueError(Errors.T324.format(name=self.name, count=n_examples))
        if self.cfg["class_weights"] == "balanced" and self.sees_only_sample(nlp, n_examples):
            raise ValueError(Errors.T311.format(name=self.name, count=n_examples))
        self._check_thresholds()
        seen.warn()
        if start.label_texts is not None:
            seen.warn_of_label_texts(self.labels, {label for holders in texts.values() for label in holders})
        self.cfg["weights"] = self._class_weights(own)
        sample = list(islice((eg for eg in own() if len(eg.reference)), 10)) or list(islice(own(), 10))
        truths, _ = self._examples_to_truth(sample)
        self.model.initialize(X=[eg.reference for eg in sample], Y=truths)
        if start.fit is not None:
            self.cfg["strength"] = start_from_maxent(self, own, nlp, n_labelled, start, texts)
        carry.into(self, nlp)

    def solve(self, get_examples: GetExamples, nlp: Language, start: Start) -> None:
        """Solve the output layer again, on rows as they are now: see `spacy-transfer.SolveHead.v1`.

        nlp (Language): The pipeline that holds this component.
        start (Start): The settings of `initialize`. Without a strength, the one that was found there counts: on rows
            that have learned the labels, cross-validation would find a weaker one.
        """
        own = self.own_examples(get_examples)
        self._check_all(own())
        texts = label_texts(self.name, start.label_texts, self.labels, self.exclusive)
        n_labelled = sum(bool(example.reference.cats) for example in own())
        known = replace(start, strength=start.strength or self.cfg.get("strength"))
        start_from_maxent(self, own, nlp, n_labelled, known, texts)

    def _check_thresholds(self) -> None:
        for label in self.cfg.get("thresholds") or {}:
            if label not in self.labels:
                near = get_close_matches(label, self.labels, n=4, cutoff=0.5) or list(self.labels)
                raise ValueError(Errors.T352.format(name=self.name, label=label, labels=near))

    def _class_weights(self, get_examples: GetExamples) -> list[float] | None:
        wanted = self.cfg["class_weights"]
        if wanted is None:
            return None
        if wanted == "balanced":
            truths, mask = self._examples_to_truth(get_examples())
            weights = balanced_weights(self.model.ops.xp, truths, mask, self.exclusive)
            return [float(weight) for weight in weights]
        for label in sorted(set(wanted) ^ set(self.labels)):
            near = get_close_matches(label, [*wanted, *self.labels], n=4, cutoff=0.5)
            near = [other for other in near if other != label] or list(self.labels)
            raise ValueError(Errors.T309.format(name=self.name, label=label, labels=near))
        return [float(wanted[label]) for label in self.labels]
