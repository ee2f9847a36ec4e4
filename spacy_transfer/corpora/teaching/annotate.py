"""Annotation by a teacher: its answers are written where a doc has no annotation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy
from spacy.tokens import Doc, Span
from thinc.types import Ints2d

from ...types import Bools
from .answers import WORDS, Answer

OUTSIDE = 2
"""Of ENT_IOB."""


@dataclass(frozen=True)
class Filter:
    """Which parts of an answer are used.

    least (float): The least probability, where there are probabilities. Below, annotation is left missing.
    decided (FrozenSet[str]): Labels of entities that other data decides on: nothing is said of them.
    """

    least: float = 0.0
    decided: frozenset[str] = field(default_factory=frozenset)


def annotate(doc: Doc, answer: Answer, exclusive: bool, keep: Filter, given: Mapping[str, float] | None = None) -> None:
    """Write an answer into a doc, where that has nothing. Of entities this does not speak: see `entities_of`.

    doc (Doc): Gets missing annotation. Its tokens are those of the answer.
    answer (Answer): From `annotation`, with "confidence" and "thresholds".
    given (Optional[Mapping[str, float]]): Categories that may exclude those of the answer; None for all of the doc.
    """
    sure = answer.get("confidence", {}).get("tokens")
    for name, attribute in WORDS.items():
        for i, value in enumerate(answer.get(name, ())):
            token = doc[i]
            is_known = token.has_morph() if attribute == "morph" else bool(getattr(token, attribute))
            if value and not is_known and (sure is None or sure[i] >= keep.least):
                _set(token, attribute, value)
    if "heads" in answer and not doc.has_annotation("DEP") and _agrees(doc, answer["heads"]):
        heads = numpy.array(answer["heads"], "int64") - numpy.arange(len(doc))
        deps = numpy.array([doc.vocab.strings.add(dep) for dep in answer["deps"]], "uint64")
        values = numpy.stack([heads.astype("uint64"), deps], axis=1)
        doc.from_array(["HEAD", "DEP"], cast(Ints2d, values))
    elif "starts" in answer and not doc.has_annotation("SENT_START"):
        for token, starts in zip(doc, answer["starts"], strict=True):
            token.is_sent_start = starts
    # One exclusive category decides on all others. Categories that are not exclusive are known or missing one by one.
    given = doc.cats if given is None else given
    says_all = any(score >= 0.5 for score in given.values()) or not given.keys().isdisjoint(answer.get("cats", {}))
    if "cats" in answer and not (exclusive and says_all):
        sure_cats = _sure_cats(answer["cats"], exclusive, keep.least, answer.get("thresholds", {}))
        doc.cats = {**sure_cats, **doc.cats}


def _agrees(doc: Doc, heads: Sequence[int]) -> bool:
    """Whether the sentences of a tree begin where those of the doc do: a tree sets them."""
    if not doc.has_annotation("SENT_START"):
        return True
    roots = list(range(len(doc)))
    for i in range(len(doc)):
        while heads[roots[i]] != roots[i]:
            roots[i] = heads[roots[i]]
    given = doc.to_array("SENT_START").astype("int64")
    starts = numpy.array([i == 0 or roots[i] != roots[i - 1] for i in range(len(doc))])
    return not ((given == 1) & ~starts).any() and not ((given == -1) & starts).any()


def _set(token: Any, attribute: str, value: str) -> None:
    if attribute == "morph":
        token.set_morph(value)
    else:
        setattr(token, attribute, value)


def _sure_cats(cats: dict[str, float], exclusive: bool, least: float, thresholds: dict[str, float]) -> dict[str, float]:
    if exclusive:
        if any(math.isnan(score) for score in cats.values()):
            return {}  # Any of them may be the best.
        best = max(cats, key=lambda label: cats[label])
        return {label: float(label == best) for label in cats} if cats[best] >= least else {}
    sure = {label: score for label, score in cats.items() if max(score, 1.0 - score) >= least}
    return {label: float(score >= thresholds.get(label, 0.5)) for label, score in sure.items()}


def set_entities(
    doc: Doc, answer: Answer, keep: Filter, *, unknown: Sequence[tuple[int, int]] = (), outside: bool = False
) -> None:
    """Write the entities of an answer into a doc: around those that it has, and over what it calls outside.

    An entity that overlaps with one of the doc gives way to that. Left missing is what is less probable than the filter
    says, what has a label that other data decides on (but for what the doc itself calls outside: it has been looked
    at) or is of another component, and the rest of an entity that gave way.

    answer (Answer): From `annotation`, with "confidence".
    unknown (Sequence[Tuple[int, int]]): Spans of which the answer is not taken.
    outside (bool): Whether the answer's "outside" is used where the doc is not annotated.
    """
    sure = answer.get("confidence", {})
    scores = {tuple(ent[:3]): ent[3] for ent in sure.get("ents", ())}
    silent, inside = _known(doc)
    missing = silent & (not outside)
    if "outside" in sure:
        missing |= ~(numpy.asarray(sure["outside"]) >= keep.least)
    for start, end in unknown:
        missing[start:end] = True
    for start, end, _ in answer.get("others", ()):
        missing[start:end] = silent[start:end]
    spans = list(doc.ents)  # With their ids in a knowledge base.
    for start, end, label in answer.get("ents", ()):
        here = slice(start, end)
        if label in keep.decided:
            missing[here] = silent[here]
        elif inside[here].any() or overlaps(unknown, start, end):
            missing[here] = True
        elif sure and not scores.get((start, end, label), 0.0) >= keep.least:
            missing[here] = True
        else:
            spans.append(Span(doc, start, end, label))
            inside[here] = True
    gaps = [doc[i : i + 1] for i in numpy.flatnonzero(missing & ~inside).tolist()]
    doc.set_ents(spans, missing=gaps, default="outside")


def deny_entities(doc: Doc, *, everywhere: bool = False) -> bool:
    """Entities become "outside", and all other tokens missing.

    everywhere (bool): All other tokens become "outside", too.
    RETURNS (bool): Whether any token is "outside" now.
    """
    _, denied = _known(doc)
    if everywhere:
        denied[:] = True
    doc.set_ents([], missing=[doc[i : i + 1] for i in numpy.flatnonzero(~denied).tolist()], default="outside")
    return bool(denied.any())


def _known(doc: Doc) -> tuple[Bools, Bools]:
    """Which tokens are not annotated with entities (blocked ones are not), and which are in an entity."""
    if not len(doc):
        return numpy.zeros(0, dtype=bool), numpy.zeros(0, dtype=bool)
    given = doc.to_array(["ENT_IOB", "ENT_TYPE"])
    inside = (given[:, 1] != 0) & (given[:, 0] != OUTSIDE)
    return ~inside & (given[:, 0] != OUTSIDE), inside


def overlaps(spans: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """RETURNS (bool): Whether a span overlaps with one of several."""
    return any(a < end and start < b for a, b in spans)
