"""The heads of a pipeline -> one part of a report each: predictions against gold."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import Errors
from ..heads.correlation import pearson, spearman
from ..pipeline.regressor import TransferRegressor
from ..pipeline.targets import pairs_by_target
from .numbers import Calibration, Confusion, Score, Statistic, confusion, length_groups, macro, micro, share, within
from .numbers import with_interval as interval

NONE = "(none)"
Entities = list[tuple[int, int, str]]


@dataclass(frozen=True)
class Mistake:
    """Something that went wrong.

    text (str): The doc's text.
    gold (str), guess (str): What it is, and what was said.
    weight (str): How sure the pipeline was, how far off, or how often it happened; in words.
    gold_ents (Optional[List[Tuple[int, int, str]]]), guess_ents: Entities by characters, to be drawn.
    """

    text: str
    gold: str
    guess: str
    weight: str
    gold_ents: Entities | None = None
    guess_ents: Entities | None = None


@dataclass
class Part:
    """What is said of one head. `by_length` holds shortest and longest doc, number of docs, and the first score."""

    title: str
    component: str
    n_docs: int
    scores: list[Score]
    by_length: list[tuple[int, int, int, Score]]
    mistakes: list[Mistake]
    mistakes_are: str
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    pairs: list[tuple[float, float]] = field(default_factory=list)


class _Builder:
    """Scores and groups by length for one head, with one number of draws."""

    def __init__(self, examples: Sequence[Example], resamples: int) -> None:
        self.examples, self.resamples = examples, resamples
        self.lengths = [len(example.predicted) for example in examples]

    def build(self, title: str, component: str, statistics: dict[str, Statistic], **rest: Any) -> Part:
        n = len(self.examples)
        scores = [interval(name, stat, n, resamples=self.resamples) for name, stat in statistics.items()]
        name, main = next(iter(statistics.items()))
        groups = []
        for low, high, own in length_groups(self.lengths):
            score = interval(name, within(main, own, n), len(own), resamples=self.resamples)
            if not math.isnan(score.value):
                groups.append((low, high, len(own), score))
        return Part(title, component, n, scores, groups, **rest)


def collect(nlp: Language, examples: Sequence[Example], *, resamples: int = 1000, most: int = 20) -> list[Part]:
    """Let a pipeline predict, and compare.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Data with gold annotation. Their predicted docs are annotated.
    resamples (int): Draws of the bootstrap.
    most (int): The most mistakes a head.
    RETURNS (List[Part]): In the order of the pipeline. Heads without gold annotation are left out.
    """
    makers = list(_makers(nlp))
    if not makers:
        raise ValueError(Errors.T731.format(pipeline=nlp.pipe_names))
    if not examples:
        raise ValueError(Errors.T732)
    for example, doc in zip(examples, nlp.pipe([eg.predicted for eg in examples]), strict=True):
        example.predicted = doc
    parts = [make(examples, resamples, most) for _, make in makers]
    found = [part for part in parts if part is not None]
    if not found:
        raise ValueError(Errors.T733.format(heads=[name for name, _ in makers]))
    return found


def _makers(nlp: Language) -> Iterator[tuple[str, Callable[..., Part | None]]]:
    """A head is known by what it assigns; entities and tags are those of the whole pipeline."""
    seen = set()
    for name, pipe in nlp.pipeline:
        assigns = nlp.get_pipe_meta(name).assigns
        if isinstance(pipe, TransferRegressor):
            for label in pipe.labels:
                yield name, partial(numbers, name, pipe, label)
        elif "doc.cats" in assigns:
            make: Callable[..., Part | None] = labels if isinstance(pipe, MultiLabel_TextCategorizer) else classes
            yield name, partial(make, name, pipe)
        for what, make_all in _WHOLE.items():
            if what in assigns and what not in seen:
                seen.add(what)
                writers = [other for other in nlp.pipe_names if what in nlp.get_pipe_meta(other).assigns]
                yield name, partial(make_all, ", ".join(writers))


def classes(name: str, pipe: TextCategorizer, examples: Sequence[Example], resamples: int, most: int) -> Part | None:
    """Labels that exclude each other: accuracy, macro F1, calibration.

    name (str): Of the component.
    pipe (TextCategorizer): The component.
    examples (Sequence[Example]): With predictions.
    resamples (int), most (int): See `collect`.
    RETURNS (Optional[Part]): None without gold labels.
    """
    names = list(pipe.labels)
    golds = [{label: eg.reference.cats[label] for label in names if label in eg.reference.cats} for eg in examples]
    keep = [i for i, gold in enumerate(golds) if gold and max(gold.values()) > 0]
    if not keep:
        return None
    examples = [examples[i] for i in keep]
    gold = [max(golds[i], key=golds[i].__getitem__) for i in keep]
    scores = numpy.array([[eg.predicted.cats[label] for label in names] for eg in examples])
    guess = [names[i] for i in scores.argmax(axis=1)]
    right = numpy.array([float(g == p) for g, p in zip(gold, guess, strict=True)])
    counts = numpy.zeros((len(gold), len(names), 3))
    for i, (g, p) in enumerate(zip(gold, guess, strict=True)):
        counts[i, names.index(p), 0 if g == p else 1] += 1
        counts[i, names.index(g), 2] += g != p
    calibration = Calibration(scores.max(axis=1), right, numpy.arange(len(gold)))
    order = [i for i in numpy.argsort(-scores.max(axis=1), kind="stable") if not right[i]][:most]
    mistakes = [Mistake(examples[i].reference.text, gold[i], guess[i], f"{scores[i].max():.1%} sure") for i in order]
    statistics = {
        "accuracy": share(right, numpy.ones_like(right)),
        "macro F1": macro(counts),
        "expected calibration error": calibration.error(),
    }
    return _Builder(examples, resamples).build(
        "Labels that exclude each other",
        name,
        statistics,
        mistakes=mistakes,
        mistakes_are="The most confident mistakes",
        confusion=confusion(list(zip(gold, guess, strict=True))),
        calibration=calibration,
    )


def labels(
    name: str, pipe: MultiLabel_TextCategorizer, examples: Sequence[Example], resamples: int, most: int
) -> Part | None:
    """Any number of labels: F1, calibration. Labels that are missing in gold do not count.

    name (str): Of the component.
    pipe (MultiLabel_TextCategorizer): The component.
    examples (Sequence[Example]): With predictions.
    resamples (int), most (int): See `collect`.
    RETURNS (Optional[Part]): None without gold labels.
    """
    names = list(pipe.labels)
    threshold: Any = pipe.cfg["threshold"]
    examples = [eg for eg in examples if any(label in eg.reference.cats for label in names)]
    if not examples:
        return None
    counts = numpy.zeros((len(examples), len(names), 4), dtype=numpy.int64)
    found: list[tuple[float, float, int]] = []
    wrong: list[tuple[float, Mistake]] = []
    for i, eg in enumerate(examples):
        for j, label in enumerate(names):
            if label not in eg.reference.cats:
                continue
            gold, score = eg.reference.cats[label] >= 0.5, eg.predicted.cats[label]
            said = score >= threshold
            counts[i, j, {(1, 1): 0, (0, 1): 1, (1, 0): 2, (0, 0): 3}[int(gold), int(said)]] += 1
            found.append((score, float(gold), i))
            if gold != said:
                is_so, was_said = (f"{label}: {'yes' if value else 'no'}" for value in (gold, said))
                mistake = Mistake(eg.reference.text, is_so, was_said, f"score {score:.3f}")
                wrong.append((abs(score - gold), mistake))
    confidence, correct, doc = (numpy.array(column) for column in zip(*found, strict=True))
    calibration = Calibration(confidence, correct, doc)
    table = Confusion(names, ["right yes", "wrong yes", "wrong no", "right no"], counts.sum(axis=0))
    statistics = {
        "micro F1": micro(counts[:, :, :3]),
        "micro precision": micro(counts[:, :, :3], "p"),
        "micro recall": micro(counts[:, :, :3], "r"),
        "macro F1": macro(counts[:, :, :3]),
        "expected calibration error": calibration.error(),
    }
    return _Builder(examples, resamples).build(
        f"Labels of which any number may hold (from a score of {threshold:g} on)",
        name,
        statistics,
        mistakes=[mistake for _, mistake in sorted(wrong, key=lambda pair: -pair[0])[:most]],
        mistakes_are="The most confident mistakes",
        confusion=table,
        calibration=calibration,
    )


def entities(name: str, examples: Sequence[Example], resamples: int, most: int) -> Part | None:
    """Entities: F1 of those whose characters and label are right.

    name (str): Of the components.
    examples (Sequence[Example]): With predictions.
    resamples (int), most (int): See `collect`.
    RETURNS (Optional[Part]): None without gold entities.
    """
    examples = [eg for eg in examples if eg.reference.has_annotation("ENT_IOB")]
    golds = [_by_extent(eg.reference) for eg in examples]
    guesses = [_judged(eg) for eg in examples]
    names = sorted({label for doc in (*golds, *guesses) for label in doc.values()})
    if not any(golds):
        return None
    counts = numpy.zeros((len(examples), len(names), 3))
    pairs: list[tuple[str, str]] = []
    sure: list[tuple[float, float, int]] = []
    wrong: list[tuple[float, int]] = []
    for i, (gold, guess) in enumerate(zip(golds, guesses, strict=True)):
        confidences = _confidences(examples[i].predicted)
        errors = [extent for extent in {*gold, *guess} if gold.get(extent) != guess.get(extent)]
        for extent in sorted({*gold, *guess}):
            g, p = gold.get(extent, NONE), guess.get(extent, NONE)
            pairs.append((g, p))
            if p != NONE:
                counts[i, names.index(p), 0 if g == p else 1] += 1
                if extent in confidences:
                    sure.append((confidences[extent], float(g == p), i))
            if g not in (NONE, p):
                counts[i, names.index(g), 2] += 1
        if errors:
            wrong.append(
                (max([confidences.get(e, 0.0) for e in errors if e in guess], default=0.0) + len(errors) / 1e6, i)
            )
    calibration = None
    if sure:
        confidence, correct, doc = (numpy.array(column) for column in zip(*sure, strict=True))
        calibration = Calibration(confidence, correct, doc)
    statistics = {"F1": micro(counts), "precision": micro(counts, "p"), "recall": micro(counts, "r")}
    statistics["macro F1"] = macro(counts)
    if calibration is not None:
        statistics["expected calibration error"] = calibration.error()
    mistakes = []
    for weight, i in sorted(wrong, key=lambda pair: -pair[0])[:most]:
        n_wrong = sum(golds[i].get(e) != guesses[i].get(e) for e in {*golds[i], *guesses[i]})
        said = f"{n_wrong} wrong or missing" + (f"; {weight:.1%} sure" if calibration is not None else "")
        ents = [[(a, b, label) for (a, b), label in sorted(doc.items())] for doc in (golds[i], guesses[i])]
        mistakes.append(Mistake(examples[i].reference.text, "", "", said, *ents))
    return _Builder(examples, resamples).build(
        "Entities",
        name,
        statistics,
        mistakes=mistakes,
        mistakes_are="The most confident mistakes" if calibration is not None else "Texts with most mistakes",
        confusion=confusion(pairs),
        calibration=calibration,
    )


def tags(attribute: str, name: str, examples: Sequence[Example], resamples: int, most: int) -> Part | None:
    """Tags or parts of speech: accuracy over the tokens that have a gold one.

    attribute (str): "TAG" or "POS".
    name (str): Of the components.
    examples (Sequence[Example]): With predictions.
    resamples (int), most (int): See `collect`.
    RETURNS (Optional[Part]): None without gold tags, or where the pipeline is not set to give any.
    """
    known = [eg.reference.has_annotation(attribute) for eg in examples]
    golds = [eg.get_aligned(attribute, as_string=True) if k else [] for eg, k in zip(examples, known, strict=True)]
    keep = [i for i, gold in enumerate(golds) if any(gold)]
    if not any(examples[i].predicted.has_annotation(attribute) for i in keep):
        return None
    examples, golds = [examples[i] for i in keep], [golds[i] for i in keep]
    pairs: list[tuple[str, str]] = []
    hits, total = numpy.zeros(len(keep)), numpy.zeros(len(keep))
    often: Counter = Counter()
    seen: dict[tuple[str, str], str] = {}
    for i, (eg, gold) in enumerate(zip(examples, golds, strict=True)):
        for token, g in zip(eg.predicted, gold, strict=True):
            if not g:
                continue
            pair = (g, (token.tag_ if attribute == "TAG" else token.pos_) or NONE)
            pairs.append(pair)
            hits[i] += pair[0] == pair[1]
            total[i] += 1
            if pair[0] != pair[1]:
                often[pair] += 1
                around = token.doc[max(0, token.i - 8) : token.i + 9]
                seen.setdefault(pair, f"{token.text}: {around.text}")
    mistakes = [Mistake(seen[pair], pair[0], pair[1], f"{n} times") for pair, n in often.most_common(most)]
    return _Builder(examples, resamples).build(
        "Tags" if attribute == "TAG" else "Parts of speech",
        name,
        {"accuracy": share(hits, total)},
        mistakes=mistakes,
        mistakes_are="The most frequent mistakes, the first of each",
        confusion=confusion(pairs),
    )


def numbers(
    name: str, pipe: TransferRegressor, target: str, examples: Sequence[Example], resamples: int, most: int
) -> Part | None:
    """One target of a regressor: correlations and mean absolute error.

    name (str): Of the component.
    pipe (TransferRegressor): The component.
    target (str): The target.
    examples (Sequence[Example]): With predictions.
    resamples (int), most (int): See `collect`.
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

    def of(measure: Callable) -> Statistic:
        def statistic(weights: Any) -> float:
            return measure(numpy.repeat(gold, weights[doc]), numpy.repeat(guess, weights[doc]))

        return statistic

    per_doc = numpy.bincount(doc, off), numpy.bincount(doc).astype(float)
    statistics = {"mean absolute error": share(*per_doc), "Pearson": of(pearson), "Spearman": of(spearman)}
    mistakes = [
        Mistake(examples[doc[i]].reference.text, f"{gold[i]:.4g}", f"{guess[i]:.4g}", f"{off[i]:.4g} off")
        for i in numpy.argsort(-off, kind="stable")[:most]
        if off[i] > 0
    ]
    return _Builder(examples, resamples).build(
        f"Number {target!r}",
        name,
        statistics,
        mistakes=mistakes,
        mistakes_are="The largest errors",
        pairs=[(float(g), float(p)) for g, p in zip(gold, guess, strict=True)],
    )


_WHOLE: dict[str, Callable[..., Part | None]] = {
    "doc.ents": entities,
    "token.tag": partial(tags, "TAG"),
    "token.pos": partial(tags, "POS"),
}


def _by_extent(doc: Doc) -> dict[tuple[int, int], str]:
    return {(ent.start_char, ent.end_char): ent.label_ for ent in doc.ents}


def _judged(example: Example) -> dict[tuple[int, int], str]:
    """Predicted entities, without those on tokens of which gold says nothing: they are neither right nor wrong."""
    found = {}
    for ent in example.predicted.ents:
        places = example.alignment.x2y[ent.start : ent.end]
        if len(places) and all(t.ent_iob for t in example.reference[int(places[0]) : int(places[-1]) + 1]):
            found[ent.start_char, ent.end_char] = ent.label_
    return found


def _confidences(doc: Doc) -> dict[tuple[int, int], float]:
    """Of entities, where the head gives one (`transfer_ner` does)."""
    if not Span.has_extension("confidence"):
        return {}
    given = {(ent.start_char, ent.end_char): ent._.confidence for ent in doc.ents}
    return {extent: float(value) for extent, value in given.items() if value is not None}
