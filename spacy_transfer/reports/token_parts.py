"""Parts of a report about tokens: entities, tags and parts of speech."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy
from spacy.tokens import Doc, Span
from spacy.training import Example

from .numbers import confusion, macro, micro, share
from .parts import NONE, Judgement, Mistake, Options, Part, calibration_error, calibration_of, label_scores, score_part

Extent = tuple[int, int]
"""First character of an entity, and the character after the last."""


def entities(name: str, examples: Sequence[Example], options: Options) -> Part | None:
    """Entities: F1 of those whose characters and label are right.

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
    judged: list[Judgement] = []
    wrong: list[tuple[float, int, int]] = []
    for i, (gold, guess) in enumerate(zip(golds, guesses, strict=True)):
        confidences = _confidences(examples[i].predicted)
        errors = [extent for extent in {*gold, *guess} if gold.get(extent) != guess.get(extent)]
        for extent in sorted({*gold, *guess}):
            g, p = gold.get(extent, NONE), guess.get(extent, NONE)
            pairs.append((g, p))
            if p != NONE:
                counts[i, names.index(p), 0 if g == p else 1] += 1
                if extent in confidences:
                    judged.append((confidences[extent], float(g == p), i))
            if g not in (NONE, p):
                counts[i, names.index(g), 2] += 1
        if errors:
            highest = max([confidences.get(e, 0.0) for e in errors if e in guess], default=0.0)
            wrong.append((highest + len(errors) / 1e6, len(errors), i))
    calibration = calibration_of(judged)
    statistics = {
        "F1": micro(counts),
        "precision": micro(counts, "p"),
        "recall": micro(counts, "r"),
        "macro F1": macro(counts),
        **calibration_error(calibration),
    }
    mistakes = []
    for weight, n_wrong, i in sorted(wrong, key=lambda found: -found[0])[: options.most]:
        said = f"{n_wrong} wrong or missing" + (f"; {weight:.1%} sure" if calibration is not None else "")
        ents = [[(a, b, label) for (a, b), label in sorted(doc.items())] for doc in (golds[i], guesses[i])]
        mistakes.append(Mistake(examples[i].reference.text, "", "", said, *ents))
    are = "The most confident mistakes" if calibration is not None else "Texts with most mistakes"
    part = Part("Entities", name, mistakes, are, confusion(pairs), calibration, by_label=label_scores(names, counts))
    return score_part(part, examples, statistics, options)


def spans(name: str, key: str, examples: Sequence[Example], options: Options) -> Part | None:
    """Spans that may overlap: F1 of those whose characters and label are right.

    key (str): Of `doc.spans`.
    RETURNS (Optional[Part]): None without gold spans.
    """
    examples = [eg for eg in examples if key in eg.reference.spans]
    golds = [_spans_of(eg.reference, key) for eg in examples]
    guesses = [_spans_of(eg.predicted, key) for eg in examples]
    if not any(golds):
        return None
    names = sorted({label for doc in (*golds, *guesses) for _, _, label in doc})
    counts = numpy.zeros((len(examples), len(names), 3))
    wrong: list[tuple[int, Mistake]] = []
    for i, (gold, guess) in enumerate(zip(golds, guesses, strict=True)):
        for found, column in ((gold & guess, 0), (guess - gold, 1), (gold - guess, 2)):
            for _, _, label in found:
                counts[i, names.index(label), column] += 1
        text, n_wrong = examples[i].text, len(gold ^ guess)
        missed, made = (
            ", ".join(f"{text[a:b]} [{label}]" for a, b, label in sorted(s)) for s in (gold - guess, guess - gold)
        )
        if n_wrong:
            wrong.append((n_wrong, Mistake(text, missed, made, f"{n_wrong} wrong or missing")))
    mistakes = [mistake for _, mistake in sorted(wrong, key=lambda found: -found[0])[: options.most]]
    statistics = {
        "F1": micro(counts),
        "precision": micro(counts, "p"),
        "recall": micro(counts, "r"),
        "macro F1": macro(counts),
    }
    are, by_label = "Texts with most mistakes: gold spans that are missed, and wrong ones", label_scores(names, counts)
    return score_part(
        Part("Spans that may overlap", name, mistakes, are, by_label=by_label), examples, statistics, options
    )


def tags(attribute: str, name: str, examples: Sequence[Example], options: Options) -> Part | None:
    """Tags or parts of speech: accuracy over the tokens that have a gold one.

    attribute (str): "TAG" or "POS".
    RETURNS (Optional[Part]): None without gold tags, or where the pipeline is not set to give any.
    """
    known = [eg.reference.has_annotation(attribute) for eg in examples]
    golds = [eg.get_aligned(attribute, as_string=True) if k else [] for eg, k in zip(examples, known, strict=True)]
    keep = [i for i, gold in enumerate(golds) if any(gold)]
    if not any(examples[i].predicted.has_annotation(attribute) for i in keep):
        return None
    examples, golds = [examples[i] for i in keep], [golds[i] for i in keep]
    pairs: list[tuple[str, str]] = []
    commonest, _ = Counter(tag for gold in golds for tag in gold if tag).most_common(1)[0]
    hits, baseline, total = (numpy.zeros(len(keep)) for _ in range(3))
    often: Counter = Counter()
    seen: dict[tuple[str, str], str] = {}
    for i, (eg, gold) in enumerate(zip(examples, golds, strict=True)):
        for token, g in zip(eg.predicted, gold, strict=True):
            if not g:
                continue
            pair = (g, (token.tag_ if attribute == "TAG" else token.pos_) or NONE)
            pairs.append(pair)
            hits[i] += pair[0] == pair[1]
            baseline[i] += g == commonest
            total[i] += 1
            if pair[0] != pair[1]:
                often[pair] += 1
                around = token.doc[max(0, token.i - 8) : token.i + 9]
                seen.setdefault(pair, f"{token.text}: {around.text}")
    mistakes = [Mistake(seen[pair], pair[0], pair[1], f"{n} times") for pair, n in often.most_common(options.most)]
    title = "Tags" if attribute == "TAG" else "Parts of speech"
    part = Part(title, name, mistakes, "The most frequent mistakes, the first of each", confusion(pairs))
    always = f"accuracy of always saying {commonest!r}"
    return score_part(part, examples, {"accuracy": share(hits, total), always: share(baseline, total)}, options)


def _spans_of(doc: Doc, key: str) -> set[tuple[int, int, str]]:
    return {(span.start_char, span.end_char, span.label_) for span in (doc.spans[key] if key in doc.spans else ())}


def _by_extent(doc: Doc) -> dict[Extent, str]:
    return {(ent.start_char, ent.end_char): ent.label_ for ent in doc.ents}


def _judged(example: Example) -> dict[Extent, str]:
    """Predicted entities, without those on tokens of which gold says nothing: they are neither right nor wrong."""
    found = {}
    for ent in example.predicted.ents:
        places = example.alignment.x2y[ent.start : ent.end]
        if len(places) and all(t.ent_iob for t in example.reference[int(places[0]) : int(places[-1]) + 1]):
            found[ent.start_char, ent.end_char] = ent.label_
    return found


def _confidences(doc: Doc) -> dict[Extent, float]:
    """Of entities, where the head gives one (`transfer_ner` does) and it is a number."""
    if not Span.has_extension("confidence"):
        return {}
    given = {(ent.start_char, ent.end_char): ent._.confidence for ent in doc.ents}
    return {extent: float(value) for extent, value in given.items() if value is not None and not math.isnan(value)}
