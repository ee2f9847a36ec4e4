"""Scorers: spaCy's own, and the calibration error of probabilities. They write nothing to docs or settings."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy
from spacy.pipeline.tagger import tagger_score
from spacy.pipeline.textcat import textcat_score
from spacy.pipeline.textcat_multilabel import textcat_multilabel_score
from spacy.scorer import PRFScore, get_ner_prf
from spacy.training import Example

from ...errors import Errors
from ...heads.calibration import BINS, calibration_error
from ...heads.tagging.token_decisions import TagDecisions
from ...types import Floats
from .entities import is_right
from .entity_decoding import confidence

LOWEST = 1e-7
"""The least probability in `cats_likelihood`: about the precision of float32."""


def create_textcat_scorer_v1(*, exclusive_classes: bool = True, bins: int = BINS) -> Callable[..., dict[str, object]]:
    """spaCy's scores of `doc.cats`, and `cats_ece`, the expected calibration error (Naeini et al. 2015), between 0 and
    1. For exclusive labels the confidence is a doc's highest score, and right is whether that is the doc's label; else
    every label whose truth is known is a decision by itself: its score, and whether it holds. What has no gold label
    does not count; where a score is not finite, the error is None. Thresholds of single labels (`thresholds` in the
    component's cfg) count for precision, recall and F1.

    `cats_likelihood` is the likelihood of the gold labels: the geometric mean over the same decisions, between 0 and 1.
    With a small weight it decides between pipelines whose labels are equally right. It is rounded to two decimals:
    spaCy saves the latest of equal scores, and counts `patience` from the earliest, so that smaller gains do not keep a
    training going. A score below 1e-7, or one that is not finite, counts as 1e-7.

    exclusive_classes (bool): Labels exclude each other.
    bins (int): Of the calibration error.
    RETURNS (Callable[[Iterable[Example]], Dict[str, object]]): The scorer.
    """
    return partial(score_textcat, exclusive_classes=exclusive_classes, bins=_checked(bins))


def create_ner_scorer_v1(*, bins: int = BINS) -> Callable[..., dict[str, object]]:
    """spaCy's scores of `doc.ents`, and `ents_ece`, the expected calibration error (Naeini et al. 2015), between 0 and
    1: every predicted entity that says how probable it is (`ent._.confidence`) is a decision, right if its extent and
    label are those of an entity of the reference. Where the reference is not annotated there is none. An entity that
    was there before `transfer_ner` came, a ruler's say, counts with its probability of 1.

    bins (int): Of the calibration error.
    RETURNS (Callable[[Iterable[Example]], Dict[str, object]]): The scorer.
    """
    return partial(score_ner, bins=_checked(bins))


def score_ner(examples: Iterable[Example], *, bins: int = BINS, **settings: object) -> dict[str, object]:
    """See `create_ner_scorer_v1`."""
    examples = list(examples)
    scores, pairs = get_ner_prf(examples, **settings), list[tuple[float, float]]()
    if scores["ents_per_type"] is not None:
        # spaCy counts over a set, whose order is another in each process, and meta.json keeps it.
        scores["ents_per_type"] = dict(sorted(scores["ents_per_type"].items()))
    for example in examples:
        for ent in example.predicted.ents:
            sure, right = confidence(ent), is_right(example, ent.start, ent.end, ent.label_)
            if sure is not None and not math.isnan(right):
                pairs.append((sure, right))
    scores["ents_ece"] = _error(_columns(pairs), bins)
    return scores


def create_tagger_scorer_v1(*, bins: int = BINS) -> Callable[..., dict[str, object]]:
    """spaCy's `tag_acc`, and `tag_ece` (or `pos_ece`, where parts of speech are learned), the expected calibration
    error (Naeini et al. 2015), between 0 and 1: every token with a gold tag is a decision. The probabilities come from
    the component's head, which reads `doc.tensor` again; None where that is not kept.

    bins (int): Of the calibration error.
    RETURNS (Callable[[Iterable[Example]], Dict[str, object]]): The scorer.
    """
    return partial(score_tagger, bins=_checked(bins))


def score_tagger(
    examples: Iterable[Example],
    *,
    bins: int = BINS,
    attribute: str = "tag",
    temperature: float = 1.0,
    decisions: Callable[[list[Example]], TagDecisions | None] | None = None,
    **settings: object,
) -> dict[str, object]:
    """See `create_tagger_scorer_v1`."""
    examples = list(examples)
    scores = tagger_score(examples, **settings)
    found = None if decisions is None else decisions(examples)
    scores[f"{attribute}_ece"] = None if found is None else _error(found.confidences(temperature), bins)
    return scores


def _checked(bins: int) -> int:
    if bins < 1:
        raise ValueError(Errors.T354.format(found=bins))
    return bins


def score_textcat(
    examples: Iterable[Example],
    *,
    labels: Iterable[str] = (),
    threshold: float | None = None,
    thresholds: dict[str, float] | None = None,
    exclusive_classes: bool = True,
    bins: int = BINS,
    **settings: object,
) -> dict[str, object]:
    """See `create_textcat_scorer_v1`."""
    examples, labels = list(examples), list(labels)
    stock = textcat_score if exclusive_classes else textcat_multilabel_score
    scores = stock(examples, labels=labels, threshold=threshold, **settings)
    if thresholds and not exclusive_classes:
        otherwise = 0.5 if threshold is None else threshold
        scores.update(_with_thresholds(examples, {label: thresholds.get(label, otherwise) for label in labels}))
    decide = _of_docs if exclusive_classes else _of_labels
    pairs = [pair for example in examples for pair in decide(example, labels)]
    scores["cats_ece"] = _error(_columns(pairs), bins)
    scores["cats_likelihood"] = _likelihood(examples, labels, exclusive_classes)
    return scores


def _likelihood(examples: Sequence[Example], labels: Sequence[str], exclusive: bool) -> float | None:
    """None without decisions: spaCy then leaves the score out."""
    found = list[float]()
    for example in examples:
        cats = example.predicted.cats
        gold = {label: example.reference.cats[label] for label in labels if label in example.reference.cats}
        if not exclusive:
            given = ((truth, cats[label]) for label, truth in gold.items() if label in cats)
            found += [truth * _log(score) + (1.0 - truth) * _log(1.0 - score) for truth, score in given]
        elif cats and _is_known(gold):
            found.append(sum(truth * _log(cats.get(label, 0.0)) for label, truth in gold.items() if truth))
    return round(math.exp(sum(found) / len(found)), 2) if found else None


def _log(score: float) -> float:
    return math.log(score if LOWEST <= score < math.inf else LOWEST)


def _is_known(gold: dict[str, float]) -> bool:
    """Whether it is known which of the labels that exclude each other holds."""
    return abs(sum(gold.values()) - 1.0) < 1e-3


def _error(pairs: tuple[Floats, Floats], bins: int) -> float | None:
    """A NaN would make the error NaN, and would decide every comparison of checkpoints."""
    confidences, right = pairs
    return calibration_error(confidences, right, bins) if numpy.isfinite(confidences).all() else None


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    columns = numpy.array(pairs, dtype="d").reshape(-1, 2).T
    return columns[0], columns[1]


def _of_docs(example: Example, labels: Sequence[str]) -> list[tuple[float, float]]:
    """One decision, if it is known which label holds."""
    gold = {label: example.reference.cats[label] for label in labels if label in example.reference.cats}
    found = {label: example.predicted.cats[label] for label in labels if label in example.predicted.cats}
    if not found or not _is_known(gold):
        return []
    if not all(map(math.isfinite, found.values())):
        return [(math.nan, 0.0)]
    first = max(found, key=found.__getitem__)
    return [(found[first], float(first == max(gold, key=gold.__getitem__)))]


def _of_labels(example: Example, labels: Sequence[str]) -> list[tuple[float, float]]:
    gold, found = example.reference.cats, example.predicted.cats
    return [(found[label], gold[label]) for label in labels if label in gold and label in found]


def _with_thresholds(examples: Sequence[Example], thresholds: dict[str, float]) -> dict[str, object]:
    """What spaCy computes with one threshold, with one for each label."""
    each = {label: PRFScore() for label in thresholds}
    for example in examples:
        gold, found = example.reference.cats, example.predicted.cats
        for label in sorted(thresholds.keys() & gold.keys()):
            said, holds = found.get(label, 0.0) >= thresholds[label], gold[label] > 0
            each[label].tp += said and holds
            each[label].fp += said and not holds
            each[label].fn += holds and not said
    micro, count = PRFScore(), len(each) + 1e-100
    for prf in each.values():
        micro += prf
    return {
        "cats_micro_p": micro.precision,
        "cats_micro_r": micro.recall,
        "cats_micro_f": micro.fscore,
        "cats_macro_p": sum(prf.precision for prf in each.values()) / count,
        "cats_macro_r": sum(prf.recall for prf in each.values()) / count,
        "cats_macro_f": sum(prf.fscore for prf in each.values()) / count,
        "cats_f_per_type": {label: prf.to_dict() for label, prf in each.items()},
    }
