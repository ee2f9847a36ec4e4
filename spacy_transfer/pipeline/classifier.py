"""What `transfer_textcat` and `transfer_textcat_multilabel` share: labels, cross-entropy with masks, initialisation."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from numbers import Real
from typing import Any, Literal

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from ..backbones.listeners import name_head
from ..checks import NOT_NEGATIVE, SHARE, require
from ..corpora.marks import may_train
from ..errors import Errors
from ..heads.calibration import LabelDecisions
from ..heads.losses import balanced_weights, binary_cross_entropy, cross_entropy
from ..heads.maxent import Evidence, weigh
from .carry import carry_at_initialize, check_carry
from .head import Head
from .maxent_start import check_start, start_from_maxent
from .soft import Targets, label_loss, taught_labels

ClassWeights = Literal["balanced"] | dict[str, float] | None


class Classifier(Head, TextCategorizer):
    """What both classifiers share: cross-entropy with masks, soft labels, smoothing and weights."""

    exclusive = True

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        threshold: float,
        scorer: Callable | None,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = None,
        focal: float = 0.0,
    ) -> None:
        super().__init__(vocab, model, name, threshold=threshold, scorer=scorer)
        require(f"components.{name}", SHARE, threshold=threshold)
        if isinstance(class_weights, dict):
            require(f"components.{name}.class_weights", NOT_NEGATIVE, **class_weights)
        name_head(model, name)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(Errors.T301.format(name=name, found=label_smoothing))
        if not 0.0 <= focal < float("inf"):
            raise ValueError(Errors.T350.format(name=name, found=focal))
        if model.attrs.get("multi_label") == self.exclusive:
            raise ValueError(Errors.T302.format(name=name, wanted=str(self.exclusive).lower()))
        self.cfg["label_smoothing"] = label_smoothing
        self.cfg["class_weights"] = class_weights
        self.cfg["focal"] = focal
        self.cfg["weights"] = None

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Scores of a batch. A doc without tokens is scored like any other, by the head's biases.

        docs (Iterable[Doc]): The docs.
        RETURNS (Floats2d): Probabilities, shape (n_docs, n_labels).
        """
        if not self.model.get_ref("output").has_param("W"):
            raise ValueError(Errors.T303.format(name=self.name))
        self._put_back()
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        """Write scores to `doc.cats`. With many labels spaCy's own way, number by number, takes as long as a small
        backbone.

        docs (Iterable[Doc]): The docs.
        scores (Floats2d): What `predict` found, shape (n_docs, n_labels).
        """
        labels = self.labels
        for doc, row in zip(docs, self.model.ops.to_numpy(scores).tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))

    def add_label(self, label: str) -> int:
        """Add a label. Those that were there keep their weights bit for bit.

        label (str): The label.
        RETURNS (int): 0 if it was there, 1 otherwise.
        """
        is_new = super().add_label(label)
        if is_new:
            self.still = None  # It knows the rows by their places.
        return is_new

    def gold_loss(self, examples: Sequence[Example], scores: Any) -> tuple[float, Any]:
        """Summed cross-entropy, and its gradient with respect to the logits.

        examples (Sequence[Example]): The batch.
        scores (Floats2d): Probabilities, shape (n_docs, n_labels).
        RETURNS (Tuple[float, Floats2d]): Loss and gradient.
        """
        truths, mask = self._examples_to_truth(examples)
        weights = None if self.cfg["weights"] is None else self.model.ops.asarray1f(self.cfg["weights"])
        loss = cross_entropy if self.exclusive else binary_cross_entropy
        amount: Any = self.cfg["label_smoothing"]
        focal: Any = self.cfg.get("focal", 0.0)
        return loss(self.model.ops.xp, scores, truths, self.model.ops.asarray2f(mask), weights, amount, focal)

    takes_soft = "labels"

    def soft_loss(self, examples: Sequence[Example], scores: Any, targets: Targets) -> tuple[float, Any]:
        """RETURNS (Tuple[float, Floats2d]): See `label_loss`."""
        return label_loss(self, targets, scores)

    def soft_targets(self, docs: Sequence[Doc]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What this classifier tells a student.

        docs (Sequence[Doc]): With rows.
        RETURNS (Tuple[Dict[str, Any], List[Dict[str, Any]]]): "labels" and "exclusive"; for each doc its "logits", at
            the temperature it was calibrated to.
        """
        shared = {"labels": list(self.labels), "exclusive": self.exclusive}
        return shared, [{"logits": row} for row in self._logits(docs) / self.model.attrs["temperature"]] if docs else []

    def _logits(self, docs: Sequence[Doc]) -> Any:
        self._put_back()
        inputs, _ = self.model.attrs["states"](self.model, list(docs), False)
        return self.model.ops.to_numpy(self.model.get_ref("output").predict(inputs))

    def weigh(self, examples: Iterable[Example]) -> Evidence:
        """What the labels of examples say, in the weights of this component's loss.

        examples (Iterable[Example]): The examples.
        RETURNS (Evidence): Shape (n_examples, n_labels).
        """
        truths, mask = (self.model.ops.to_numpy(part) for part in self._examples_to_truth(examples))
        amount: Any = self.cfg["label_smoothing"]
        return weigh(truths, mask, self.cfg["weights"], amount, self.exclusive)

    def decisions(self, examples: Iterable[Example]) -> LabelDecisions:
        """What this component decides about texts, for `heads.calibration`.

        examples (Iterable[Example]): With rows on their predicted docs. Those that train others alone are left out.
        RETURNS (LabelDecisions): Shape (n_examples, n_labels).
        """
        examples = list(self.own_examples(lambda: examples)())
        truths, mask = self._examples_to_truth(examples)
        logits = self._logits([eg.predicted for eg in examples])
        logits, truths, mask = (self.model.ops.to_numpy(array).astype("d") for array in (logits, truths, mask))
        return LabelDecisions(logits, truths, mask, self.exclusive)

    def fit_thresholds(self, parts: list[LabelDecisions]) -> dict[str, float] | None:
        """Labels that exclude each other have no thresholds: the highest score decides.

        parts (List[LabelDecisions]): Decisions on texts that were not trained on.
        RETURNS (Optional[Dict[str, float]]): None.
        """
        return None

    def _examples_to_truth(self, examples: Iterable[Example]) -> tuple[Any, Any]:
        """Targets, and 0 where there are none to learn from. A missing label is never trained on."""
        examples = list(examples)
        truths = self.model.ops.xp.zeros((len(examples), len(self.labels)), dtype="f")
        mask = self.model.ops.xp.zeros((len(examples), len(self.labels)), dtype="f")
        for i, example in enumerate(examples):
            cats = example.reference.cats
            for j, label in enumerate(self.labels):
                if label in cats:
                    truths[i, j], mask[i, j] = cats[label], 1.0
            if self.exclusive:
                # Once the labels that are given add up to 1, the others are known to be 0; until then nobody
                # knows which label holds, and softmax cannot learn from a part.
                mask[i] = 1.0 if abs(float(truths[i].sum()) - 1.0) < 1e-3 else 0.0
        return truths, mask

    def check_gold(self, examples: Iterable[Example]) -> None:
        """RAISES (ValueError): When categories are no probabilities, or those that exclude each other do not. Labels of
        other components do not count."""
        labels = set(self.labels)
        for example in examples:
            self._check(example, labels)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): The scorer's.

        RAISES (ValueError): When a category is no number.
        """
        examples = list(examples)
        for example in examples:
            cats = {label: value for label, value in example.reference.cats.items() if label in self.labels}
            self._raise(example, self._no_number(cats))
        return super().score(examples, **kwargs)

    def _check(self, example: Example, labels: set[str] | None) -> dict[str, float]:
        """The categories that are this component's: of some labels, or if that is None, of all."""
        cats = example.reference.cats
        own = cats if labels is None else {label: value for label, value in cats.items() if label in labels}
        self._raise(example, self._no_number(own) or self._problem_of(own))
        return own

    def _raise(self, example: Example, problem: tuple[str, dict[str, Any]] | None) -> None:
        if problem is not None:
            message, facts = problem
            raise ValueError(message.format(name=self.name, text=example.reference.text[:60], **facts))

    @staticmethod
    def _no_number(cats: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        wrong = [label for label, value in cats.items() if not isinstance(value, Real | numpy.bool_)]
        return (Errors.T339, {"label": wrong[0], "found": repr(cats[wrong[0]])}) if wrong else None

    def _problem_of(self, cats: dict[str, float]) -> tuple[str, dict[str, Any]] | None:
        for label, value in cats.items():
            if not 0.0 <= value <= 1.0:
                return Errors.T304, {"label": label, "found": value}
        if not self.exclusive or not cats:
            return None
        two = [label for label, value in cats.items() if value == 1.0]
        if len(two) > 1:
            return Errors.T305, {"labels": two}
        total = sum(cats.values())
        is_soft = any(0.0 < value < 1.0 for value in cats.values())
        if total > 1.001 or (is_soft and total < 0.999 and set(cats) >= set(self.labels)):
            return Errors.T306, {"total": total}
        return None

    def _initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        labels: Iterable[str] | None,
        nlp: Language | None,
        fit: str | None,
        strength: float | None,
        carry: dict[str, Any],
    ) -> None:
        """Labels, class weights and weights from the *whole* corpus: a rare label may come late."""
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        check_start(self, nlp, fit, strength)
        check_carry(self.name, fit=fit, **carry)
        n_examples, n_labelled, is_taught, own = 0, 0, False, self.own_examples(get_examples)
        found: dict[str, None] = dict.fromkeys(labels or ())
        known = None if labels is None else {*found, *self.given_labels}
        for example in get_examples():
            n_examples += 1
            if not may_train(example.reference, self.name):
                continue
            cats = self._check(example, known)
            n_labelled += bool(cats)
            taught = taught_labels(example, self.name)
            is_taught |= bool(taught)
            if labels is None:
                found |= dict.fromkeys((*cats, *taught))
        self.begin_anew(found)
        if not (n_labelled or is_taught) or not self.labels:
            raise ValueError(Errors.T307.format(name=self.name))
        if self.exclusive and len(self.labels) < 2:
            raise ValueError(Errors.T308.format(name=self.name, label=self.labels[0]))
        if fit is not None and self.sees_a_part(nlp, n_examples):
            raise ValueError(Errors.T324.format(name=self.name, count=n_examples))
        if self.cfg["class_weights"] == "balanced" and self.sees_a_part(nlp, n_examples):
            raise ValueError(Errors.T311.format(name=self.name, count=n_examples))
        self._check_thresholds()
        self.cfg["weights"] = self._class_weights(own)
        sample = list(islice((eg for eg in own() if len(eg.reference)), 10)) or list(islice(own(), 10))
        truths, _ = self._examples_to_truth(sample)
        self.model.initialize(X=[eg.reference for eg in sample], Y=truths)
        if fit is not None:
            start_from_maxent(self, own, nlp, n_labelled, strength)
        carry_at_initialize(self, nlp, **carry)

    def _check_thresholds(self) -> None:
        given: Any = self.cfg.get("thresholds") or {}
        for label in given:
            if label not in self.labels:
                near = get_close_matches(label, self.labels, n=4, cutoff=0.5) or list(self.labels)
                raise ValueError(Errors.T352.format(name=self.name, label=label, labels=near))

    def _class_weights(self, get_examples: Callable[[], Iterable[Example]]) -> list[float] | None:
        wanted: Any = self.cfg["class_weights"]
        if wanted is None:
            return None
        if wanted == "balanced":
            truths, mask = self._examples_to_truth(get_examples())
            weights = balanced_weights(self.model.ops.xp, truths, self.model.ops.asarray2f(mask), self.exclusive)
            return [float(weight) for weight in weights]
        for label in sorted(set(wanted) ^ set(self.labels)):
            near = get_close_matches(label, [*wanted, *self.labels], n=4, cutoff=0.5)
            near = [other for other in near if other != label] or list(self.labels)
            raise ValueError(Errors.T309.format(name=self.name, label=label, labels=near))
        return [float(wanted[label]) for label in self.labels]
