"""Parts of a report about whole docs: exclusive labels, labels of which any number may hold, numbers."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import numpy
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example

from ..heads.correlation import pearson, spearman
from ..pipeline.heads.regressor import TransferRegressor
from ..pipeline.heads.targets import pairs_by_target
from ..types import Ints
from .numbers import Confusion, Proportion, Statistic, confusion, macro, micro, share
from .parts import (
    NONE,
    Judgement,
    Mistake,
    Options,
    Part,
    calibration_error,
    calibration_of,
    label_scores,
    score_part,
    without_nan,
)


def exclusive_labels(name: str, pipe: TextCategorizer, examples: Sequence[Example], options: Options) -> Part | None:
    """Labels that exclude each other: accuracy, macro F1, calibration. A doc without one score is wrong.

    RETURNS (Optional[Part]): None without gold labels.
    """
    names = list(pipe.labels)
    golds = [_gold_cats(eg.reference, names) for eg in examples]
    keep = [i for i, cats in enumerate(golds) if cats and max(cats.values()) > 0]
    if not keep:
        return None
    examples = [examples[i] for i in keep]
    gold = [max(golds[i], key=golds[i].__getitem__) for i in keep]
    scores = without_nan(numpy.array([[eg.predicted.cats[label] for label in names] for eg in examples]), -1.0)
    highest = scores.max(axis=1)
    guess = [names[best] if score >= 0 else NONE for best, score in zip(scores.argmax(axis=1), highest, strict=True)]
    right = numpy.array([float(g == p) for g, p in zip(gold, guess, strict=True)])
    counts = numpy.zeros((len(gold), len(names), 3))
    for i, (g, p) in enumerate(zip(gold, guess, strict=True)):
        if p != NONE:
            counts[i, names.index(p), 0 if g == p else 1] += 1
        counts[i, names.index(g), 2] += g != p
    confidence = [float(score) if score >= 0 else math.nan for score in highest]
    calibration = calibration_of(list(zip(confidence, right, range(len(gold)), strict=True)))
    order = [i for i in numpy.argsort(-highest, kind="stable") if not right[i]][: options.most]
    said = ["no score" if math.isnan(sure) else f"{sure:.1%} sure" for sure in confidence]
    commonest, _ = Counter(gold).most_common(1)[0]
    statistics: dict[str, Statistic] = {
        "accuracy": Proportion(right),
        f"accuracy of always saying {commonest!r}": Proportion(numpy.array(gold) == commonest),
        "macro F1": macro(counts),
        **calibration_error(calibration),
    }
    part = Part(
        "Labels that exclude each other",
        name,
        [Mistake(examples[i].reference.text, gold[i], guess[i], said[i]) for i in order],
        "The most confident mistakes",
        confusion(list(zip(gold, guess, strict=True))),
        calibration,
        by_label=label_scores(names, counts),
    )
    return score_part(part, examples, statistics, options)


def _gold_cats(doc: Doc, names: Sequence[str]) -> dict[str, float]:
    """Gold labels of one component. A NaN counts as missing."""
    return {label: doc.cats[label] for label in names if label in doc.cats and not math.isnan(doc.cats[label])}


def multilabel(
    name: str, pipe: MultiLabel_TextCategorizer, examples: Sequence[Example], options: Options
) -> Part | None:
    """Any number of labels: F1, calibration. Labels that are missing in gold do not count.

    RETURNS (Optional[Part]): None without gold labels.
    """
    names = list(pipe.labels)
    threshold = cast(float, pipe.cfg["threshold"])
    examples = [eg for eg in examples if _gold_cats(eg.reference, names)]
    if not examples:
        return None
    counts = numpy.zeros((len(examples), len(names), 4), dtype=numpy.int64)
    judged: list[Judgement] = []
    wrong: list[tuple[float, Mistake]] = []
    for i, eg in enumerate(examples):
        for label, target in _gold_cats(eg.reference, names).items():
            gold, score = target >= 0.5, eg.predicted.cats[label]
            said = score >= threshold
            counts[i, names.index(label), {(1, 1): 0, (0, 1): 1, (1, 0): 2, (0, 0): 3}[int(gold), int(said)]] += 1
            judged.append((score, float(gold), i))
            if gold != said:
                is_so, was_said = (f"{label}: {'yes' if value else 'no'}" for value in (gold, said))
                sure = "no score" if math.isnan(score) else f"score {score:.3f}"
                distance = -1.0 if math.isnan(score) else abs(score - gold)
                wrong.append((distance, Mistake(eg.reference.text, is_so, was_said, sure)))
    calibration = calibration_of(judged)
    constant, commonest = _always_commonest(counts)
    statistics = {
        "micro F1": micro(counts[:, :, :3]),
        f"micro F1 of always saying {names[commonest]!r}": micro(constant),
        "micro precision": micro(counts[:, :, :3], "p"),
        "micro recall": micro(counts[:, :, :3], "r"),
        "macro F1": macro(counts[:, :, :3]),
        **calibration_error(calibration),
    }
    part = Part(
        f"Labels of which any number may hold (from a score of {threshold:g} on)",
        name,
        [mistake for _, mistake in sorted(wrong, key=lambda pair: -pair[0])[: options.most]],
        "The most confident mistakes",
        Confusion(names, ["right yes", "wrong yes", "wrong no", "right no"], counts.sum(axis=0)),
        calibration,
        by_label=label_scores(names, counts[:, :, :3]),
    )
    return score_part(part, examples, statistics, options)


def _always_commonest(counts: Ints) -> tuple[Ints, int]:
    """What one gets who says the commonest label of each text, and no other.

    counts (Array): Right yes, wrong yes, wrong no, right no: shape (n_docs, n_labels, 4).
    RETURNS (Tuple[Array, int]): Right yes, wrong yes, wrong no: shape (n_docs, n_labels, 3). And which label it is.
    """
    holds, fails = counts[:, :, [0, 2]].sum(axis=2), counts[:, :, [1, 3]].sum(axis=2)
    commonest = int(holds.sum(axis=0).argmax())
    said = numpy.zeros(counts.shape[1], dtype=counts.dtype)
    said[commonest] = 1
    return numpy.stack([holds * said, fails * said, holds * (1 - said)], axis=2), commonest


def numbers(
    name: str, pipe: TransferRegressor, target: str, examples: Sequence[Example], options: Options
) -> Part | None:
    """One target of a regressor: correlations, and the mean absolute error, also that of the best constant.

    RETURNS (Optional[Part]): None without gold values.
    """
    found = pairs_by_target(examples, pipe.targets, pipe.labels)[target]
    known = [(i, gold, guess) for i, gold, guess in found if guess is not None]
    keep = sorted({i for i, _, _ in known})
    if not keep:
        return None
    examples = [examples[i] for i in keep]
    place = {i: k for k, i in enumerate(keep)}
    doc = numpy.array([place[i] for i, _, _ in known])
    gold, guess = (numpy.array([row[k] for row in known]) for k in (1, 2))
    off = numpy.abs(gold - guess)

    def of(measure: Callable[..., float]) -> Statistic:
        def statistic(weights: Ints) -> float:
            return measure(numpy.repeat(gold, weights[doc]), numpy.repeat(guess, weights[doc]))

        return statistic

    middle, n_values = float(numpy.median(gold)), numpy.bincount(doc).astype(float)
    statistics = {
        "mean absolute error": share(numpy.bincount(doc, off), n_values),
        f"mean absolute error of always saying {middle:.4g}": share(
            numpy.bincount(doc, numpy.abs(gold - middle)), n_values
        ),
        "Pearson": of(pearson),
        "Spearman": of(spearman),
    }
    # A prediction that is no number is the largest mistake.
    distance = without_nan(off, numpy.inf)
    mistakes = [
        Mistake(examples[doc[i]].reference.text, f"{gold[i]:.4g}", f"{guess[i]:.4g}", f"{off[i]:.4g} off")
        for i in numpy.argsort(-distance, kind="stable")[: options.most]
        if distance[i] > 0
    ]
    drawn = [(float(g), float(p)) for g, p in zip(gold, guess, strict=True) if math.isfinite(g - p)]
    part = Part(f"Number {target!r}", name, mistakes, "The largest errors", pairs=drawn)
    return score_part(part, examples, statistics, options)
