"""`transfer_textcat` and `transfer_textcat_multilabel`: spaCy's text classifiers on a head that transfers."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy
import srsly
from spacy.language import Language
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Config as ThincConfig
from thinc.api import Model
from thinc.types import Floats2d

from ...errors import Errors
from ...heads.calibration import LabelDecisions
from ...heads.textcat import TextCatAttrs
from ...heads.thresholds import fit_thresholds
from ...types import Config, GetExamples
from ..argument_groups import takes
from ..labels.carry import Carry
from .classifier import Classifier, LossSettings
from .maxent_start import Start

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
_MEANS = [f"{mean}_{score}" for mean in ("micro", "macro") for score in "prf"]
_SHOWN = ["score_desc", *_MEANS, "macro_auc", "f_per_type", "ece"]
# The ready configs weigh the likelihood, to decide where scores are alike: at 0.01, the smallest weight that spaCy does
# not round to 0, a difference of 0.1 in it is worth 0.1 points. Other configs weigh what they always did.
_SCORES = {"cats_score": 1.0, **dict.fromkeys([f"cats_{name}" for name in (*_SHOWN, "likelihood")])}


def _config(exclusive: bool, **thresholds: float | None) -> Config:
    model = {**ThincConfig().from_str(DEFAULT_MODEL)["model"], "exclusive_classes": exclusive}
    scorer = {"@scorers": "spacy-transfer.TextCatScorer.v1", "exclusive_classes": exclusive, "bins": 15}
    loss = {"label_smoothing": 0.0, "class_weights": None, "focal": 0.0}
    return {"model": model, **thresholds, **loss, "scorer": scorer}


@Language.factory(
    "transfer_textcat",
    assigns=["doc.cats"],
    requires=["doc.tensor"],
    default_config=_config(True, threshold=0.0),
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
    loss = LossSettings(label_smoothing, class_weights, focal)
    return TransferTextCat(nlp.vocab, model, name, loss, threshold=threshold, scorer=scorer)


@Language.factory(
    "transfer_textcat_multilabel",
    assigns=["doc.cats"],
    requires=["doc.tensor"],
    default_config={**_config(False, threshold=0.5, thresholds=None), "focal_negative": None, "margin": 0.0},
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
    focal_negative: float | None,
    margin: float,
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
    focal_negative (Optional[float]): Gamma where a label does not hold; null for `focal`. A higher one, 4 say, keeps
        the many labels that do not hold from drowning the few that do (Ridnik et al. 2021).
    margin (float): Taken from the scores of labels that do not hold; what is then below 0 teaches nothing. 0.05 is
        usual; 0 for none.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferTextCatMultilabel): The component.
    """
    loss = LossSettings(label_smoothing, class_weights, focal, focal_negative, margin)
    return TransferTextCatMultilabel(
        nlp.vocab, model, name, loss, threshold=threshold, thresholds=thresholds, scorer=scorer
    )


class TransferTextCat(Classifier):
    """Labels that exclude each other; see `make_textcat`."""

    @takes(start=Start, carry=Carry)
    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        positive_label: str | None = None,
        start: Start,
        carry: Carry,
    ) -> None:
        """Find the labels and build the head.

        positive_label (Optional[str]): The label to score, of two.
        get_examples, nlp, labels, start, carry: See `Classifier`.
        """
        super().initialize(get_examples, nlp=nlp, labels=labels, **vars(start), **vars(carry))
        if positive_label is not None and (positive_label not in self.labels or len(self.labels) != 2):
            raise ValueError(Errors.T310.format(name=self.name, label=positive_label, labels=list(self.labels)))
        self.cfg["positive_label"] = positive_label


class TransferTextCatMultilabel(Classifier, MultiLabel_TextCategorizer):  # type: ignore[misc]  # See Classifier.
    """Any number of labels may hold; see `make_textcat_multilabel`."""

    exclusive = False

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        loss: LossSettings,
        *,
        threshold: float,
        thresholds: dict[str, float] | None = None,
        scorer: Callable | None,
    ) -> None:
        super().__init__(vocab, model, name, loss, threshold=threshold, scorer=scorer)
        for label, value in (thresholds or {}).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(Errors.T353.format(name=self.name, label=label, found=value))
        self._own_thresholds = None if thresholds is None else dict(thresholds)
        self.cfg["thresholds"] = self._own_thresholds

    def start_fresh(self, labels: Iterable[str]) -> None:
        """Thresholds that were fitted are forgotten too."""
        super().start_fresh(labels)
        self.cfg["thresholds"] = self._own_thresholds

    @property
    def thresholds(self) -> dict[str, float]:
        """RETURNS (Dict[str, float]): From which score on each label is taken to hold."""
        own = self.cfg.get("thresholds") or {}
        return {label: own.get(label, self.cfg["threshold"]) for label in self.labels}

    def fit_thresholds(self, parts: list[LabelDecisions]) -> dict[str, float] | None:
        """For each label a threshold: see `heads.thresholds`. A label that always holds, or never, keeps its own.

        RETURNS (Optional[Dict[str, float]]): The thresholds that were found.
        """
        temperature = TextCatAttrs.of(self.model).temperature
        scores, truths, mask = (
            numpy.concatenate(arrays)
            for arrays in zip(*((part.scores(temperature), part.truths, part.mask) for part in parts), strict=True)
        )
        fitted = zip(self.labels, fit_thresholds(scores, truths, mask), strict=True)
        found = {label: threshold for label, threshold in fitted if threshold is not None}
        # Rounded as when they are loaded: the parser of cfg's JSON changes the last bit of some numbers.
        found = srsly.json_loads(srsly.json_dumps(found))
        self.cfg["thresholds"] = {**(self.cfg.get("thresholds") or {}), **found}
        return found
