"""`transfer_textcat` and `transfer_textcat_multilabel`: spaCy's text classifiers on a head that transfers."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any, Literal

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, set_dropout_rate
from thinc.types import Floats2d

from ..errors import Errors
from ..heads.calibration import LabelDecisions, best_threshold
from ..heads.losses import balanced_weights, binary_cross_entropy, cross_entropy
from ..heads.maxent import Evidence, weigh
from .carry import carry_at_initialize, check_carry
from .maxent_start import check_is_whole, check_start, start_from_maxent
from .still import StillRows

ClassWeights = Literal["balanced"] | dict[str, float] | None

DEFAULT_MODEL = """
[model]
@architectures = "spacy-transfer.TextCatHead.v1"
pooling = ["mean"]
hidden = []
activation = "relu"
dropout = null
exclusive_classes = true
context = null
nO = null

[model.tok2vec]
@architectures = "spacy-transfer.Listener.v1"
upstream = "*"
width = null
"""
_SINGLE = Config().from_str(DEFAULT_MODEL)["model"]
_MULTI = {**_SINGLE, "exclusive_classes": False}
_SCORES = {
    "cats_score": 1.0,
    "cats_score_desc": None,
    "cats_micro_p": None,
    "cats_micro_r": None,
    "cats_micro_f": None,
    "cats_macro_p": None,
    "cats_macro_r": None,
    "cats_macro_f": None,
    "cats_macro_auc": None,
    "cats_f_per_type": None,
    "cats_ece": None,
}


@Language.factory(
    "transfer_textcat",
    assigns=["doc.cats"],
    default_config={
        "model": _SINGLE,
        "threshold": 0.0,
        "label_smoothing": 0.0,
        "class_weights": None,
        "focal": 0.0,
        "scorer": {"@scorers": "spacy-transfer.TextCatScorer.v1", "exclusive_classes": True, "bins": 15},
    },
    default_score_weights=_SCORES,
)
def make_textcat(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Floats2d],
    threshold: float,
    label_smoothing: float,
    class_weights: Literal["balanced"] | dict[str, float] | None,
    focal: float,
    scorer: Callable | None,
) -> "TransferTextCat":
    """Construct a classifier for labels that exclude each other.

    model (Model[List[Doc], Floats2d]): A head, `spacy-transfer.TextCatHead.v1`.
    threshold (float): Not used; spaCy's textcat has it.
    label_smoothing (float): Share of every target that is spread over all labels (Szegedy et al. 2016).
    class_weights (Union["balanced", Dict[str, float], None]): Weight of every label in the loss, or "balanced".
    focal (float): Gamma of the focal loss (Lin et al. 2017); 0 is cross-entropy.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferTextCat): The component.
    """
    settings: dict[str, Any] = {"label_smoothing": label_smoothing, "class_weights": class_weights, "focal": focal}
    return TransferTextCat(nlp.vocab, model, name, threshold=threshold, scorer=scorer, **settings)


@Language.factory(
    "transfer_textcat_multilabel",
    assigns=["doc.cats"],
    default_config={
        "model": _MULTI,
        "threshold": 0.5,
        "thresholds": None,
        "label_smoothing": 0.0,
        "class_weights": None,
        "focal": 0.0,
        "scorer": {"@scorers": "spacy-transfer.TextCatScorer.v1", "exclusive_classes": False, "bins": 15},
    },
    default_score_weights=_SCORES,
)
def make_textcat_multilabel(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Floats2d],
    threshold: float,
    thresholds: dict[str, float] | None,
    label_smoothing: float,
    class_weights: Literal["balanced"] | dict[str, float] | None,
    focal: float,
    scorer: Callable | None,
) -> "TransferTextCatMultilabel":
    """Construct a classifier in which any number of labels may hold.

    model (Model[List[Doc], Floats2d]): A head with `exclusive_classes = false`.
    threshold (float): From which score on a label is taken to hold.
    thresholds (Optional[Dict[str, float]]): The same for single labels, which `threshold` does not count for then;
        "spacy-transfer.Calibrate.v1" and `spacy transfer calibrate` fit them.
    label_smoothing (float): Share of every target that is spread over yes and no.
    class_weights (Union["balanced", Dict[str, float], None]): Weight of every label where it holds, or "balanced".
    focal (float): Gamma of the focal loss (Lin et al. 2017); 0 is cross-entropy.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferTextCatMultilabel): The component.
    """
    settings: dict[str, Any] = {"label_smoothing": label_smoothing, "class_weights": class_weights, "focal": focal}
    settings["thresholds"] = thresholds
    return TransferTextCatMultilabel(nlp.vocab, model, name, threshold=threshold, scorer=scorer, **settings)


class _TransferLoss(TextCategorizer):
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
        self.still: StillRows | None = None

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Scores of a batch. A doc without tokens is scored like any other, by the head's biases.

        docs (Iterable[Doc]): The docs.
        RETURNS (Floats2d): Probabilities, shape (n_docs, n_labels).
        """
        if not self.model.get_ref("output").has_param("W"):
            raise ValueError(Errors.T303.format(name=self.name))
        self._put_back()
        return self.model.predict(list(docs))

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
        losses (Optional[Dict[str, float]]): Gets the summed cross-entropy under the component's name.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        self._validate_categories(examples)
        self._put_back()
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_scores = self.get_loss(examples, scores)
        backprop(d_scores if self.still is None else self.still.only_moving(d_scores))
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def finish_update(self, sgd: Any) -> None:
        """Step, and put back what shall stay: see `spacy_transfer.learn_only`.

        sgd (Optimizer): The optimizer.
        """
        super().finish_update(sgd)
        self._put_back()

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """RETURNS (bytes): The component, with what shall stay as it was."""
        self._put_back()
        return super().to_bytes(exclude=exclude)

    def to_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> None:
        """Save the component, with what shall stay as it was.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): As in spaCy.
        """
        self._put_back()
        super().to_disk(path, exclude=exclude)

    def _put_back(self) -> None:
        """Our optimizers make the step after `finish_update`, in `step_schedules`: so this is done once more wherever
        the weights are read."""
        if self.still is not None:
            self.still.restore()

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """Summed loss of a batch, and its gradient with respect to the logits.

        examples (Iterable[Example]): The batch.
        scores (Floats2d): Probabilities, shape (n_docs, n_labels).
        RETURNS (Tuple[float, Floats2d]): Loss and gradient.
        """
        examples = list(examples)
        truths, mask = self._examples_to_truth(examples)
        weights = None if self.cfg["weights"] is None else self.model.ops.asarray1f(self.cfg["weights"])
        loss = cross_entropy if self.exclusive else binary_cross_entropy
        amount: Any = self.cfg["label_smoothing"]
        focal: Any = self.cfg.get("focal", 0.0)
        return loss(self.model.ops.xp, scores, truths, self.model.ops.asarray2f(mask), weights, amount, focal)

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

        examples (Iterable[Example]): With rows on their predicted docs.
        RETURNS (LabelDecisions): Shape (n_examples, n_labels).
        """
        examples = list(examples)
        truths, mask = self._examples_to_truth(examples)
        inputs, _ = self.model.attrs["states"](self.model, [eg.predicted for eg in examples], False)
        logits = self.model.get_ref("output").predict(inputs)
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

    def _validate_categories(self, examples: Iterable[Example]) -> None:
        for example in examples:
            problem = self._problem_of(example.reference.cats)
            if problem is not None:
                message, facts = problem
                raise ValueError(message.format(name=self.name, text=example.reference.text[:60], **facts))

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
        self.still = None
        n_examples = n_labelled = 0
        for example in get_examples():
            self._validate_categories([example])
            n_examples += 1
            n_labelled += bool(example.reference.cats)
            for label in example.reference.cats if labels is None else ():
                self.add_label(label)
        for label in labels or ():
            self.add_label(label)
        if not n_labelled or not self.labels:
            raise ValueError(Errors.T307.format(name=self.name))
        if self.exclusive and len(self.labels) < 2:
            raise ValueError(Errors.T308.format(name=self.name, label=self.labels[0]))
        if fit is not None:
            check_is_whole(self.name, nlp, n_examples)
        self._check_thresholds()
        self.cfg["weights"] = self._class_weights(get_examples)
        sample = list(islice((eg for eg in get_examples() if len(eg.reference)), 10)) or list(
            islice(get_examples(), 10)
        )
        truths, _ = self._examples_to_truth(sample)
        self.model.initialize(X=[eg.reference for eg in sample], Y=truths)
        if fit is not None:
            start_from_maxent(self, get_examples, nlp, n_labelled, strength)
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


class TransferTextCat(_TransferLoss):
    """Labels that exclude each other; see `make_textcat`."""

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        positive_label: str | None = None,
        fit: str | None = None,
        strength: float | None = None,
        carry_from: str | None = None,
        carry_component: str | None = None,
        label_map: dict[str, str] | None = None,
        merge: bool = False,
        only_new: bool = False,
    ) -> None:
        """Find the labels and build the head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, if they are known already.
        positive_label (Optional[str]): The label to score, of two.
        fit (Optional["maxent"]): Solve the output layer to its optimum on the rows of all training texts; None to
            start it from zeros.
        strength (Optional[float]): Of the prior of fit = "maxent", which adds strength / 2 * ||W||^2 to the summed
            loss; None to choose it by cross-validation.
        carry_from (Optional[str]): A pipeline whose head is carried over, by the names of labels: a folder or package.
        carry_component (Optional[str]): The component there; None for the one of this name, or the only classifier.
        label_map (Optional[Dict[str, str]]): The labels' names here, by those there, where they differ.
        merge (bool): Whether several labels there may become one here.
        only_new (bool): Let only the rows of labels that are new learn; all else stays bit for bit.
        """
        carry: dict[str, Any] = {"carry_from": carry_from, "carry_component": carry_component, "label_map": label_map}
        carry |= {"merge": merge, "only_new": only_new}
        self._initialize(get_examples, labels, nlp, fit, strength, carry)
        if positive_label is not None and (positive_label not in self.labels or len(self.labels) != 2):
            raise ValueError(Errors.T310.format(name=self.name, label=positive_label, labels=list(self.labels)))
        self.cfg["positive_label"] = positive_label


class TransferTextCatMultilabel(_TransferLoss, MultiLabel_TextCategorizer):
    """Any number of labels may hold; see `make_textcat_multilabel`."""

    exclusive = False

    def __init__(self, *args: Any, thresholds: dict[str, float] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for label, value in (thresholds or {}).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(Errors.T353.format(name=self.name, label=label, found=value))
        self.cfg["thresholds"] = None if thresholds is None else dict(thresholds)

    @property
    def thresholds(self) -> dict[str, float]:
        """RETURNS (Dict[str, float]): From which score on each label is taken to hold."""
        own: Any = self.cfg.get("thresholds") or {}
        return {label: own.get(label, self.cfg["threshold"]) for label in self.labels}

    def fit_thresholds(self, parts: list[LabelDecisions]) -> dict[str, float] | None:
        """For each label the threshold of the highest F1. A label that always holds, or never, keeps the one it has.

        parts (List[LabelDecisions]): Decisions on texts that were not trained on.
        RETURNS (Optional[Dict[str, float]]): The thresholds that were found.
        """
        temperature: Any = self.model.attrs["temperature"]
        scores, truths, mask = (
            numpy.concatenate(arrays)
            for arrays in zip(*((part.scores(temperature), part.truths, part.mask) for part in parts), strict=True)
        )
        found: dict[str, float] = {}
        for j, label in enumerate(self.labels):
            known = mask[:, j] > 0
            best = best_threshold(scores[known, j], truths[known, j])
            if best is not None:
                found[label] = best[0]
        self.cfg["thresholds"] = {**(self.cfg.get("thresholds") or {}), **found}
        return found

    def initialize(  # type: ignore[override]
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        fit: str | None = None,
        strength: float | None = None,
        carry_from: str | None = None,
        carry_component: str | None = None,
        label_map: dict[str, str] | None = None,
        merge: bool = False,
        only_new: bool = False,
    ) -> None:
        """Find the labels and build the head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, if they are known already.
        fit (Optional["maxent"]): Solve the output layer to its optimum on the rows of all training texts; None to
            start it from zeros.
        strength (Optional[float]): Of the prior of fit = "maxent", which adds strength / 2 * ||W||^2 to the summed
            loss; None to choose it by cross-validation.
        carry_from (Optional[str]): A pipeline whose head is carried over, by the names of labels: a folder or package.
        carry_component (Optional[str]): The component there; None for the one of this name, or the only classifier.
        label_map (Optional[Dict[str, str]]): The labels' names here, by those there, where they differ.
        merge (bool): Whether several labels there may become one here.
        only_new (bool): Let only the rows of labels that are new learn; all else stays bit for bit.
        """
        carry: dict[str, Any] = {"carry_from": carry_from, "carry_component": carry_component, "label_map": label_map}
        carry |= {"merge": merge, "only_new": only_new}
        self._initialize(get_examples, labels, nlp, fit, strength, carry)
