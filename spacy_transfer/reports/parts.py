"""The part of a report about one head: scores, mistakes, confusion and calibration."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy
from spacy.training import Example

from ..types import Floats, Ints
from .numbers import Calibration, Confusion, Score, Statistic, length_groups, with_interval, within

NONE = "(none)"
ECE = "expected calibration error"
Entities = list[tuple[int, int, str]]
Judgement = tuple[float, float, int]
"""Confidence of a prediction, whether it is right (0 to 1), and the number of its doc."""


@dataclass(frozen=True)
class Options:
    """What a user may choose."""

    resamples: int
    most: int


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    gold (str), guess (str): The right answer, and the predicted one.
    weight (str): How sure the pipeline was, how far off, or how often it happened; in words.
    gold_ents (Optional[List[Tuple[int, int, str]]]), guess_ents: Entities by characters, to be drawn.
    """

    text: str
    gold: str
    guess: str
    weight: str
    gold_ents: Entities | None = None
    guess_ents: Entities | None = None


@dataclass(frozen=True)
class LabelScore:
    """How one label fares; NaN where a score is not defined.

    n_gold (int), n_predicted (int): How many there are, and how many are predicted.
    """

    label: str
    precision: float
    recall: float
    f1: float
    n_gold: int
    n_predicted: int


@dataclass
class Part:
    """The results of one head. `by_label` is filled for entities and labels of texts; `by_length` holds shortest and
    longest doc, number of docs, and the first score. `can_be_calibrated` is whether `transfer calibrate` is for it."""

    title: str
    component: str
    mistakes: list[Mistake]
    mistakes_are: str
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    pairs: list[tuple[float, float]] = field(default_factory=list)
    n_docs: int = 0
    scores: list[Score] = field(default_factory=list)
    by_length: list[tuple[int, int, int, Score]] = field(default_factory=list)
    by_label: list[LabelScore] = field(default_factory=list)
    can_be_calibrated: bool = False


MakePart = Callable[[Sequence[Example], Options], Part | None]
"""Compares predictions with gold annotation; None where there is no gold annotation for the head."""


def score_part(part: Part, examples: Sequence[Example], statistics: dict[str, Statistic], options: Options) -> Part:
    """Fill in the scores of a part, over all docs and by length.

    statistics (Dict[str, Callable]): The scores by name. The first is the one by length.
    options (Options): Has the draws of the bootstrap.
    """
    n, resamples = len(examples), options.resamples
    part.n_docs = n
    part.scores = [with_interval(name, stat, n, resamples=resamples) for name, stat in statistics.items()]
    name, main = next(iter(statistics.items()))
    for low, high, own in length_groups([len(example.predicted) for example in examples]):
        score = with_interval(name, within(main, own, n), len(own), resamples=resamples)
        if not math.isnan(score.value):
            part.by_length.append((low, high, len(own), score))
    return part


def label_scores(names: Sequence[str], counts: Floats | Ints) -> list[LabelScore]:
    """Precision, recall and F1 of each label that is in gold or was predicted.

    counts (NDArray): True positives, false positives and false negatives, shape (n_docs, n_labels, 3).
    """
    found = []
    for name, (tp, fp, fn) in zip(names, counts.sum(axis=0).astype(int).tolist(), strict=True):
        if not tp + fp + fn:
            continue
        parts = ((tp, tp + fp), (tp, tp + fn), (2 * tp, 2 * tp + fp + fn))
        precision, recall, f1 = (hits / total if total else math.nan for hits, total in parts)
        found.append(LabelScore(name, precision, recall, f1, n_gold=tp + fn, n_predicted=tp + fp))
    return found


def calibration_of(judged: Sequence[Judgement]) -> Calibration | None:
    """RETURNS (Optional[Calibration]): Of the predictions whose confidence is a number; None where there are none."""
    known = [each for each in judged if not math.isnan(each[0])]
    if not known:
        return None
    confidence, correct, doc = (numpy.array(column) for column in zip(*known, strict=True))
    return Calibration(confidence, correct, doc)


def calibration_error(calibration: Calibration | None) -> dict[str, Statistic]:
    """RETURNS (Dict[str, Callable]): The calibration error by its name; nothing where there is no calibration."""
    return {} if calibration is None else {ECE: calibration.error()}


def without_nan(values: Floats, low: float) -> Floats:
    """RETURNS (Floats): The values, with `low` in place of NaN."""
    return numpy.where(numpy.isnan(values), low, values)
