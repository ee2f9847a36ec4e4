"""Gold labels of any head, on the tokens of predicted docs: what a row of features stands for, and its label."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
from spacy.pipeline import EntityRecognizer, Tagger
from spacy.pipeline.morphologizer import Morphologizer
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.training import Example

from ..heads.tagging.schemes import UNKNOWN, Scheme
from ..pipeline.heads.entities import gold_entities
from ..pipeline.heads.ner import TransferNER
from ..pipeline.heads.regressor import TransferRegressor
from ..pipeline.heads.tagger import TransferTagger
from ..pipeline.heads.tokens import first_tokens
from ..types import Floats, Ints
from .estimators.estimate import Kind

BINS = 10
"""Groups that numbers are sorted into, for stratified samples."""


@dataclass(frozen=True)
class Gold:
    """The gold labels of some examples.

    values (Array): One row for each place: ints of shape (n,), or floats of shape (n, n_labels) or (n, n_targets).
    docs (Array), starts (Array), ends (Array): Index of the example of each place, its first token in the predicted
        doc, and the token after its last; shape (n,).
    names (Tuple[str, ...]): Of the labels, by their number.
    """

    kind: Kind
    values: Floats | Ints
    docs: Ints
    starts: Ints
    ends: Ints
    names: tuple[str, ...]


Read = Callable[[Sequence[Example]], Gold]
Place = tuple[int, int, int]


@dataclass(frozen=True)
class HeadGold:
    """How the gold labels of a head are read.

    reads (str): What has a label: whole "docs", "spans" or "tokens".
    """

    reads: Literal["docs", "spans", "tokens"]
    read: Read


def gold_of(pipe: object) -> HeadGold | None:
    """RETURNS (Optional[HeadGold]): None for a component whose labels cannot be scored from rows."""
    if isinstance(pipe, TransferRegressor):
        return HeadGold("docs" if pipe.targets.spans_key is None else "spans", lambda egs: _numbers(pipe, egs))
    if isinstance(pipe, MultiLabel_TextCategorizer):
        return HeadGold("docs", lambda egs: _multilabel(tuple(pipe.labels), egs))
    if isinstance(pipe, TextCategorizer):
        return HeadGold("docs", lambda egs: _classes(tuple(pipe.labels), egs))
    if isinstance(pipe, TransferNER):
        return HeadGold("tokens", lambda egs: _entities(pipe.scheme, tuple(pipe.labels), egs))
    if isinstance(pipe, EntityRecognizer):
        labels = tuple(pipe.labels)
        return HeadGold("tokens", lambda egs: _entities(Scheme(labels, "biluo"), labels, egs))
    if isinstance(pipe, TransferTagger):
        return HeadGold("tokens", lambda egs: _tags(pipe.attribute.upper(), tuple(pipe.labels), egs))
    if isinstance(pipe, Tagger) and not isinstance(pipe, Morphologizer) and pipe.name != "senter":
        return HeadGold("tokens", lambda egs: _tags("TAG", tuple(pipe.labels), egs))
    return None


def strata_of(gold: Gold, n_docs: int) -> list[str]:
    """A group for each doc, for stratified samples: its rarest label, or the range that its number is in.

    RETURNS (List[str]): Empty strings for docs without labels.
    """
    if gold.kind == "numbers":
        held = [[place] for place in _bins(gold.values[:, 0].astype("d"))]
    elif gold.kind == "multilabel":
        held = [numpy.flatnonzero(row > 0.5).tolist() for row in gold.values]
    else:
        held = [[value] for value in gold.values.tolist()]
    labels: list[set[int]] = [set() for _ in range(n_docs)]
    for doc, own in zip(gold.docs.tolist(), held, strict=True):
        labels[doc].update(own)
    counts = Counter(label for own in labels for label in own)
    return ["" if not own else str(min(own, key=lambda label: (counts[label], label))) for own in labels]


def _bins(values: Floats) -> list[int]:
    """The tenth of all values that each is in; equal values are in the same."""
    places: list[int] = (numpy.searchsorted(numpy.sort(values), values) * BINS // max(1, len(values))).tolist()
    return places


def _gold(kind: Kind, values: Sequence[object], places: Sequence[Place], names: tuple[str, ...]) -> Gold:
    dtype = "int64" if kind == "classes" else "float64"
    extents = numpy.array(places, dtype="int64").reshape(-1, 3)
    array = numpy.array(values, dtype=dtype)
    array = array if kind == "classes" else array.reshape(len(extents), len(names))
    docs, starts, ends = extents.T
    return Gold(kind, array, docs, starts, ends, names)


def _classes(labels: tuple[str, ...], examples: Sequence[Example]) -> Gold:
    """The likeliest label of docs whose categories are given."""
    values, places = [], []
    for i, example in enumerate(examples):
        scores = [example.reference.cats.get(label, 0.0) for label in labels]
        if sum(scores) > 0.5:
            values.append(int(numpy.argmax(scores)))
            places.append((i, 0, len(example.predicted)))
    return _gold("classes", values, places, labels)


def _multilabel(labels: tuple[str, ...], examples: Sequence[Example]) -> Gold:
    """Which labels hold. A label that is not given does not hold."""
    values, places = [], []
    for i, example in enumerate(examples):
        cats = example.reference.cats
        if any(label in cats for label in labels):
            values.append([float(cats.get(label, 0.0) > 0.5) for label in labels])
            places.append((i, 0, len(example.predicted)))
    return _gold("multilabel", values, places, labels)


def _numbers(pipe: TransferRegressor, examples: Sequence[Example]) -> Gold:
    """Places where all targets are given."""
    values, places = [], []
    for i, example in enumerate(examples):
        for (start, end), found in pipe.targets.of_example(example, only=pipe.labels):
            row = [found.get(label, math.nan) for label in pipe.labels]
            if all(map(math.isfinite, row)):
                values.append(row)
                places.append((i, start, end))
    return _gold("numbers", values, places, tuple(pipe.labels))


def _entities(scheme: Scheme, labels: tuple[str, ...], examples: Sequence[Example]) -> Gold:
    """Tags of the head's own scheme, where they are known."""
    examples_ = list(examples)
    lengths = numpy.array([len(example.predicted) for example in examples_], dtype="int64")
    if not lengths.sum():
        return _gold("classes", [], [], scheme.tags)
    vocab = examples_[0].reference.vocab
    iob, ids, _ = gold_entities(examples_, vocab)
    index = {vocab.strings[label]: i for i, label in enumerate(labels)}
    known = numpy.array([index.get(int(label), UNKNOWN) for label in ids.tolist()])
    mask = scheme.mask(iob, known, first_tokens(lengths))
    tokens = numpy.flatnonzero(mask.sum(axis=1) == 1)
    docs = numpy.repeat(numpy.arange(len(lengths)), lengths)[tokens]
    starts = tokens - (numpy.cumsum(lengths) - lengths)[docs]
    return Gold("classes", mask[tokens].argmax(axis=1), docs, starts, starts + 1, scheme.tags)


def _tags(attribute: str, labels: tuple[str, ...], examples: Sequence[Example]) -> Gold:
    """Tags of tokens that have one."""
    index = {label: i for i, label in enumerate(labels)}
    values, places = [], []
    for i, example in enumerate(examples):
        for at, tag in enumerate(example.get_aligned(attribute, as_string=True)):
            if tag in index:
                values.append(index[tag])
                places.append((i, at, at + 1))
    return _gold("classes", values, places, labels)
