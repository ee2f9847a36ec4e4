"""Gold entities on the tokens of predicted docs: tags, incorrect spans, and entities that cross tokens."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy
from spacy.training import Example
from spacy.vocab import Vocab

from ...errors import Errors
from ...heads.tagging.schemes import BEGIN, INSIDE, MISSING, OUTSIDE
from ...types import Floats, Ints
from .tokens import same_tokens

IncorrectSpan = tuple[int, int, int, int]
"""Index of the example, first token, token after the last, index of the label."""


@dataclass
class Crossing:
    """Entities whose ends are no ends of tokens.

    total (int): Of how many entities in docs whose tokens differ from the reference's.
    text (str): The beginning of a text with one.
    """

    count: int = 0
    total: int = 0
    text: str = ""

    def add(self, example: Example, count: int) -> None:
        """Count the entities of an example that cross tokens."""
        self.count += count
        if count and not self.text:
            self.text = example.reference.text[:60]


def gold_entities(examples: Sequence[Example], vocab: Vocab) -> tuple[Ints, Ints, Crossing]:
    """Entities of references on the tokens of the predicted docs.

    RETURNS (Tuple[Array, Array, Crossing]): ENT_IOB and ENT_TYPE of the tokens of all docs, shape (n_tokens,), and
        the entities that cross tokens.
    """
    parts, crossing = list[Ints](), Crossing()
    for example in examples:
        if same_tokens(example):
            parts.append(cast(Ints, example.reference.to_array(["ENT_IOB", "ENT_TYPE"])))
            continue
        entities, tags = example.get_aligned_ents_and_ner()
        parts.append(_from_biluo(tags, vocab))
        crossing.add(example, len(example.reference.ents) - len(entities))
        crossing.total += len(example.reference.ents)
    given = numpy.concatenate(parts)
    iob, ids = given[:, 0].astype("int64"), given[:, 1]
    # Blocked tokens are not annotated, as in spaCy.
    iob[((iob == BEGIN) | (iob == INSIDE)) & (ids == 0)] = MISSING
    return iob, ids, crossing


def count_entities(examples: Iterable[Example]) -> tuple[dict[str, int], Crossing]:
    """RETURNS (Tuple[Dict[str, int], Crossing]): How often each label is in references, and what crosses the tokens."""
    found, crossing = Counter[str](), Crossing()
    for example in examples:
        entities = example.reference.ents
        found.update(entity.label_ for entity in entities)
        crossing.total += len(entities)
        if entities and not same_tokens(example):
            aligned, _ = example.get_aligned_ents_and_ner()
            crossing.add(example, len(entities) - len(aligned))
    return found, crossing


def incorrect_spans(examples: Sequence[Example], key: str, labels: Sequence[str], name: str) -> list[IncorrectSpan]:
    """Spans that are known to be no entity of their label.

    labels (Sequence[str]): Of the component; others do not count.
    RETURNS (List[Tuple[int, int, int, int]]): On the tokens of the predicted docs.
    RAISES (ValueError): When one is an entity of the reference.
    """
    found, index = list[IncorrectSpan](), {label: i for i, label in enumerate(labels)}
    for i, example in enumerate(examples):
        spans = [span for span in example.reference.spans.get(key, ()) if span.label_ in index]
        entities = {(ent.start, ent.end, ent.label_) for ent in example.reference.ents} if spans else set()
        for span in spans:
            if (span.start, span.end, span.label_) in entities:
                facts = {"text": example.reference.text[:60], "span": span.text, "label": span.label_}
                raise ValueError(Errors.T335.format(name=name, key=key, **facts))
        if not same_tokens(example):
            spans = example.get_aligned_spans_y2x(spans, allow_overlap=True)
        found.extend((i, span.start, span.end, index[span.label_]) for span in spans)
    return found


def is_right(example: Example, start: int, end: int, label: str) -> float:
    """Whether a predicted entity is one of the reference, as spaCy's scorer sees it.

    start (int), end (int): First token in the predicted doc, and token after the last.
    RETURNS (float): 1 or 0; NaN where the reference is not annotated.
    """
    at = [int(i) for i in example.alignment.x2y[start:end]]
    if not at or any(token.ent_iob == MISSING for token in example.reference[at[0] : at[-1] + 1]):
        return numpy.nan
    wanted = (at[0], at[-1] + 1, label)
    return float(any((ent.start, ent.end, ent.label_) == wanted for ent in example.reference.ents))


def judged(examples: Sequence[Example], starts: Ints, ends: Ints, labels: Sequence[str]) -> Floats:
    """Whether entities in the predicted docs of a batch are right.

    examples (Sequence[Example]): The examples; no predicted doc is empty.
    starts (Array), ends (Array): First tokens and tokens after the last ones, counted through all docs.
    RETURNS (Array): Float64, shape (n_entities,); see `is_right`.
    """
    bounds = numpy.cumsum([len(example.predicted) for example in examples])
    which = numpy.searchsorted(bounds, starts, side="right")
    begins = bounds - [len(example.predicted) for example in examples]
    found = zip(which.tolist(), (starts - begins[which]).tolist(), (ends - begins[which]).tolist(), labels, strict=True)
    return numpy.array([is_right(examples[i], start, end, label) for i, start, end, label in found], dtype="d")


def _from_biluo(tags: Sequence[str | None], vocab: Vocab) -> Ints:
    """ENT_IOB and ENT_TYPE, uint64, shape (n_tokens, 2), of what spaCy's alignment gives."""
    iob = {"B": BEGIN, "U": BEGIN, "I": INSIDE, "L": INSIDE, "O": OUTSIDE, "-": MISSING}
    pairs = [(iob[(tag or "-")[0]], vocab.strings.add(tag[2:]) if tag and tag[2:] else 0) for tag in tags]
    return numpy.array(pairs, dtype="uint64").reshape(-1, 2)
