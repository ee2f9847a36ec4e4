"""`transfer_contrast`: texts of one label get rows that are alike. The component is for training alone."""

from collections.abc import Callable, Iterable, Sequence

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.util import logger
from spacy.vocab import Vocab
from thinc.api import Config, Model
from thinc.types import Floats2d

from ..backbones.listeners import name_head
from ..checks import POSITIVE, require
from ..corpora.example_info import labels_that_hold
from ..errors import Errors, Warnings
from ..heads.contrast import supervised_contrast
from ..types import Bools, Floats, GetExamples
from ..types import Config as Settings
from .heads.base import Head

DEFAULT_MODEL = """
[model]
@architectures = "spacy-transfer.ContrastHead.v1"
pooling = ["mean"]
hidden = []
activation = "relu"
dropout = null

[model.tok2vec]
@architectures = "spacy-transfer.Listener.v1"
upstream = "*"
width = null
"""


@Language.factory(
    "transfer_contrast",
    assigns=[],
    default_config={"model": Config().from_str(DEFAULT_MODEL)["model"], "temperature": 0.1, "scorer": None},
)
def make_contrast(
    nlp: Language, name: str, model: Model[list[Doc], Floats2d], temperature: float, scorer: Callable | None
) -> "TransferContrast":
    """Construct a component that trains an encoder to give texts that share a label in `doc.cats` rows that are alike,
    and unlike those of other texts (supervised contrastive loss, Khosla et al. 2020). Pairs are those of a batch:
    `spacy-transfer.LabelBatcher.v1` puts several texts of a label into one. It writes nothing, and
    `spacy-transfer.LeaveOut.v1` leaves it out of what is saved. How much it counts beside the classifier is a weight in
    `spacy-transfer.TaskWeights.v1`.

    model (Model[List[Doc], Floats2d]): `spacy-transfer.ContrastHead.v1`.
    temperature (float): Divides the similarities.
    scorer (Optional[Callable]): Not used.
    RETURNS (TransferContrast): The component.
    """
    return TransferContrast(nlp.vocab, model, name, temperature)


class TransferContrast(Head[Floats]):
    """A supervised contrastive loss beside other heads; see `make_contrast`."""

    _has_warned = False

    def __init__(self, vocab: Vocab, model: Model, name: str = "transfer_contrast", temperature: float = 0.1) -> None:
        require(f"components.{name}", POSITIVE, temperature=temperature)
        self.vocab, self.model, self.name = vocab, model, name
        name_head(model, name)
        self.cfg: Settings = {"temperature": temperature}

    def predict(self, docs: Iterable[Doc]) -> list[None]:
        """RETURNS (List[None]): Nothing."""
        return [None for _ in docs]

    def set_annotations(self, docs: Iterable[Doc], scores: list[None]) -> None:
        """Write nothing."""

    def gold_loss(self, examples: Sequence[Example], scores: Floats) -> tuple[float, Floats]:
        """RETURNS (Tuple[float, Floats]): See `supervised_contrast`."""
        holds = _labels_of(examples)
        alike, known = (holds @ holds.T) > 0, holds.any(axis=1)
        pairs = alike[known][:, known]
        if not self._has_warned and (pairs.all() or pairs.sum() == len(pairs)):
            what = "no two texts that share a label" if pairs.sum() == len(pairs) else "only texts that share a label"
            logger.warning(Warnings.W925.format(name=self.name, count=len(examples), what=what))
            self._has_warned = True
        xp = self.model.ops.xp
        alike, known = xp.asarray(alike, dtype="f"), xp.asarray(known, dtype="f")
        return supervised_contrast(xp, scores, alike, known, self.cfg["temperature"])

    def initialize(self, get_examples: GetExamples, *, nlp: Language | None = None) -> None:
        """Check that there are pairs.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        RAISES (ValueError): When no two texts share a label, or all do.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        counts: dict[str, int] = {}
        n_texts, sample = 0, list[Doc]()
        for example in self.own_examples(get_examples)():
            labels = labels_that_hold(example)
            n_texts += bool(labels)
            sample = sample or [example.reference]
            for label in labels:
                counts[label] = counts.get(label, 0) + 1
        most = max(counts.values(), default=0)
        if most < 2 or most == n_texts:
            what = (
                "no two share a label" if most < 2 else f"all have the label {max(counts, key=lambda k: counts[k])!r}"
            )
            raise ValueError(Errors.T927.format(name=self.name, count=n_texts, what=what))
        self._has_warned = False
        self.model.initialize(X=sample)


def _labels_of(examples: Sequence[Example]) -> Bools:
    """RETURNS (Bools): Which labels hold for each example, shape (n_examples, n_labels)."""
    each = [labels_that_hold(example) for example in examples]
    labels = list(dict.fromkeys(label for labels in each for label in labels))
    return numpy.array([[label in own for label in labels] for own in each], dtype=bool).reshape(len(each), len(labels))
