"""`transfer_regressor`: real numbers for each doc, or for each span of a group, on a head that transfers."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model
from thinc.types import Floats2d

from ...attributes import RowsAttrs
from ...backbones.listeners import name_head
from ...corpora.example_info import may_train
from ...errors import Errors, Warnings
from ...heads import regression as losses_of
from ...heads.regression import Places, RegressionAttrs
from ...types import Config as Settings
from ...types import Floats, GetExamples, Ints, pipes_of
from ..argument_groups import takes
from ..labels.carry import Carry
from .base import Head
from .targets import Targets, check_bounds, declare

DEFAULT_MODEL = """
[model]
@architectures = "spacy-transfer.RegressionHead.v1"
pooling = ["mean"]
hidden = []
activation = "relu"
dropout = null
normalize = false
bounded = false
nO = null

[model.tok2vec]
@architectures = "spacy-transfer.Listener.v1"
upstream = "*"
width = null
"""


@Language.factory(
    "transfer_regressor",
    requires=["doc.tensor"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "attribute": "score",
        "source": "extension",
        "spans_key": None,
        "loss": "mse",
        "delta": 1.0,
        "bounds": None,
        "scorer": {"@scorers": "spacy-transfer.RegressionScorer.v1"},
    },
    default_score_weights={"score_pearson": 1.0, "score_spearman": None, "score_mae": None, "score_per_target": None},
)
def make_regressor(
    nlp: Language,
    name: str,
    model: Model[Places, Floats2d],
    attribute: str,
    source: Literal["extension", "cats"],
    spans_key: str | None,
    loss: Literal["mse", "huber", "pearson"],
    delta: float,
    bounds: list[float] | None,
    scorer: Callable | None,
) -> "TransferRegressor":
    """Construct a component that gives one or several real numbers to every doc, or to every span of a group.

    They are written to `doc._.ATTRIBUTE` or `span._.ATTRIBUTE`: a float, or a dict by name where targets have names.
    Gold values stand in the same attribute of the reference (a dict may leave names out, or say None), which a .spacy
    file keeps when it was written with `DocBin(store_user_data=True)`, or in `doc.cats`, which it always keeps.

    model (Model): A head, `spacy-transfer.RegressionHead.v1`.
    attribute (str): Extension attribute to write to. Declared if it is not there yet.
    source (str): Where gold values stand: the "extension" attribute, or "cats" (documents only).
    spans_key (Optional[str]): Group in `doc.spans` whose spans get numbers; null for whole docs. An earlier
        component must set the group; training and scoring take the reference's.
    loss (str): "mse" (squared error), "huber", or "pearson" (1 - correlation over the batch; only
        the order of its predictions has a meaning, not their mean or scale).
    delta (float): From which error on Huber's loss is a straight line, in standard deviations of the target.
    bounds (Optional[List[float]]): Lowest and highest value that a target may have. What lies outside is an error;
        a head with `bounded = true` keeps its predictions between them.
    scorer (Optional[Callable]): The scorer. The weights in [training.score_weights] begin with the attribute's name.
    RETURNS (TransferRegressor): The component.
    """
    targets = Targets(name, attribute, source, spans_key, check_bounds(name, bounds))
    return TransferRegressor(nlp.vocab, model, name, targets, loss=loss, delta=delta, scorer=scorer)


class TransferRegressor(Head[Floats]):
    """Real numbers for docs or spans; see `make_regressor`."""

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        targets: Targets,
        *,
        loss: losses_of.Loss = "mse",
        delta: float = 1.0,
        scorer: Callable | None = None,
    ) -> None:
        self.vocab, self.model, self.name, self.scorer = vocab, model, name, scorer
        name_head(model, name)
        self.cfg: Settings = {"labels": []}
        self.targets = targets
        self.loss, self.delta = loss, delta
        if not 0.0 < delta < math.inf:
            raise ValueError(Errors.T422.format(name=name, found=delta))
        if targets.source == "cats" and targets.spans_key is not None:
            raise ValueError(Errors.T414.format(name=name, key=targets.spans_key))
        own = RegressionAttrs.of(model)
        if not RegressionAttrs.fits(model) or (own.bounded and targets.bounds is None):
            raise ValueError(Errors.T413.format(name=name))
        own.bounds = targets.bounds and list(targets.bounds)
        declare(name, targets.attribute, Doc if targets.spans_key is None else Span)

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): Names of the targets. That of a single number is the attribute's."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (List[str]): The names, for `spacy init labels`."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """RETURNS (int): 0 if the target was there, 1 otherwise. Those that were there keep their weights."""
        if not isinstance(label, str):
            raise ValueError(Errors.T423.format(name=self.name, found=label))
        if label in self.labels:
            return 0
        self.cfg["labels"] = [*self.labels, label]
        self.frozen_rows = None  # It holds numbers of rows.
        self.model = RegressionAttrs.of(self.model).resize_output(self.model, len(self.labels))
        self.vocab.strings.add(label)
        return 1

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Numbers of a batch. A doc without tokens gets the head's biases.

        docs (Iterable[Doc]): The docs.
        RETURNS (Floats2d): Shape (n_docs, n_targets); with a `spans_key` (n_spans, n_targets), doc by doc.
        """
        if not self.model.get_ref("output").has_param("W"):
            raise ValueError(Errors.T418.format(name=self.name))
        self._restore_frozen()
        docs = list(docs)
        if self.targets.spans_key is None:
            return self.model.predict(docs)
        spans = [[(span.start, span.end) for span in self._spans(doc)] for doc in docs]
        return self.model.predict((docs, spans))

    def set_annotations(self, docs: Iterable[Doc], scores: Floats2d) -> None:
        """Write numbers from `predict` to the attribute."""
        rows = iter(self.model.ops.to_numpy(scores).tolist())
        is_single = self.labels == (self.targets.attribute,)
        for doc in docs:
            for place in self._places(doc):
                row = next(rows)
                value = row[0] if is_single else dict(zip(self.labels, row, strict=True))
                place._.set(self.targets.attribute, value)

    def _places(self, doc: Doc) -> Iterable[Doc | Span]:
        return [doc] if self.targets.spans_key is None else self._spans(doc)

    def _spans(self, doc: Doc) -> Iterable[Span]:
        return doc.spans.get(self.targets.spans_key, ())

    def check_gold(self, examples: Sequence[Example]) -> None:
        """RAISES (ValueError): When a target is no number, or outside of the bounds."""
        for example in examples:
            self.targets.of_example(example)

    def inputs(self, examples: Sequence[Example]) -> Places:
        """RETURNS (Places): The docs, and with a `spans_key` the extents of the reference's spans in each."""
        docs = [example.predicted for example in examples]
        return docs if self.targets.spans_key is None else (docs, [self.targets.extents(eg) for eg in examples])

    def n_rows(self, examples: Sequence[Example], scores: Floats) -> Ints:
        """RETURNS (Array): One of a doc, or one for each span of the reference."""
        return numpy.array([len(self.targets.extents(example)) for example in examples], dtype="int64")

    def gold_loss(self, examples: Sequence[Example], scores: Floats) -> tuple[float, Floats]:
        """Summed loss, and its gradient, both in standard deviations of the targets."""
        found = [values for example in examples for _, values in self.targets.of_example(example)]
        xp = self.model.ops.xp
        truths, mask = (xp.asarray(part) for part in self._as_arrays(found))
        values, truths = (losses_of.standardize(self.model, numbers) for numbers in (scores, truths))
        if self.loss == "huber":
            return losses_of.huber(xp, values, truths, mask, self.delta)
        loss = losses_of.mean_squared_error if self.loss == "mse" else losses_of.pearson_loss
        return loss(xp, values, truths, mask)

    @takes(carry=Carry)
    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
        units: dict[str, list[float]] | None = None,
        carry: Carry,
    ) -> None:
        """Find the targets, their mean and spread in the whole corpus, and build the head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[List[str]]): Names of the targets, if they are known already. With `source = "cats"` other
            categories are left alone then.
        units (Optional[Dict[str, List[float]]]): Mean and standard deviation of targets, by name, where the training
            examples do not tell: of a corpus that is streamed or sampled spaCy shows the first 100. Targets that are
            carried keep theirs.
        carry (Carry): What is taken from another pipeline, by the names of targets, with their mean and scale there;
            the fields of `Carry` are keys of the block.
        """
        validate_get_examples(get_examples, "TransferRegressor.initialize")
        carry.check(self.name)
        self._check_others(nlp)
        if self.targets.spans_key is not None and RowsAttrs.of(self.model.get_ref("tok2vec")).rows_per == "document":
            raise ValueError(Errors.T424.format(name=self.name, key=self.targets.spans_key))
        sample: list[Doc] = []
        found: list[dict[str, float]] = []
        n_examples = 0
        for example in get_examples():
            n_examples += 1
            if not may_train(example.reference, self.name):
                continue
            own = [values for _, values in self.targets.of_example(example, only=labels) if values]
            if len(sample) < 10:
                sample.append(example.reference)
            found.extend(own)
        names = list(dict.fromkeys(name for values in found for name in values))
        if not found:
            raise ValueError(Errors.T417.format(name=self.name, wanted=self.targets.as_text()))
        if labels is not None:
            self._check_labels(names, list(labels))
        self.start_fresh(names if labels is None else labels)
        units = units or {}
        self._check_units(units)
        truths, mask = self._as_arrays(found)
        self.model.initialize(X=sample, Y=truths)
        pairs = zip(self.labels, *losses_of.units(truths, mask), strict=True)
        mean, scale = zip(*(units.get(label, measured) for label, *measured in pairs), strict=True)
        losses_of.set_units(self.model, mean, scale)
        report = carry.into(self, nlp)
        measured = [label for label in (self.labels if report is None else report.plan.new) if label not in units]
        if measured and self.sees_only_sample(nlp, n_examples):
            counts = {label: sum(label in values for values in found) for label in measured}
            warnings.warn(Warnings.W412.format(name=self.name, counts=counts, most=n_examples), stacklevel=2)

    def _as_arrays(self, found: list[dict[str, float]]) -> tuple[Floats, Floats]:
        """Targets, and a mask that is 0 where they are missing."""
        truths = numpy.zeros((len(found), len(self.labels)), dtype="f")
        mask = numpy.zeros_like(truths)
        for i, values in enumerate(found):
            for j, label in enumerate(self.labels):
                if label in values:
                    truths[i, j], mask[i, j] = values[label], 1.0
        return truths, mask

    def _check_others(self, nlp: Language | None) -> None:
        for other, pipe in pipes_of(nlp) if nlp is not None else ():
            if pipe is self or not isinstance(pipe, TransferRegressor):
                continue
            same = [(p.targets.attribute, p.targets.spans_key) for p in (self, pipe)]
            if same[0] == same[1]:
                raise ValueError(Errors.T421.format(name=self.name, other=other, attribute=same[0][0]))

    def _check_units(self, units: dict[str, list[float]]) -> None:
        for label, pair in units.items():
            is_pair = len(pair) == 2 and all(map(math.isfinite, pair)) and pair[1] > 0.0
            if label not in self.labels or not is_pair:
                raise ValueError(Errors.T426.format(name=self.name, label=label, found=pair, labels=list(self.labels)))

    def _check_labels(self, names: list[str], labels: list[str]) -> None:
        unknown = [name for name in names if name not in labels]
        unseen = [label for label in labels if label not in names]
        if unknown:
            raise ValueError(Errors.T420.format(name=self.name, unknown=unknown, labels=labels, unseen=unseen))
        if unseen:
            warnings.warn(Warnings.W411.format(name=self.name, unseen=unseen), stacklevel=3)

    def score(self, examples: Iterable[Example], **kwargs: object) -> dict[str, object]:
        """RETURNS (Dict[str, object]): The scorer's."""
        if self.scorer is None:
            return {}
        validate_examples(examples, "TransferRegressor.score")
        return self.scorer(examples, **{**kwargs, "targets": self.targets, "labels": self.labels})
