"""What the texts of a training say of entities: tags, spans that are none, and how many cross the tokens."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from spacy.training import Example
from spacy.vocab import Vocab

from ..errors import Errors
from ..heads.schemes import BEGIN, INSIDE, MISSING, OUTSIDE
from .soft import taught_labels
from .tokens import same_tokens

IncorrectSpan = tuple[int, int, int, int]
"""Index of the example, first token, token after the last, index of the label."""


@dataclass
class Crossing:
    """Entities whose ends are no ends of tokens.

    count (int): How many.
    total (int): Of how many entities in docs whose tokens differ from the reference's.
    text (str): The beginning of a text with one.
    """

    count: int = 0
    total: int = 0
    text: str = ""

    def add(self, example: Example, count: int) -> None:
        """Count those of an example.

        example (Example): The example.
        count (int): How many cross.
        """
        self.count += count
        if count and not self.text:
            self.text = example.reference.text[:60]


def gold_entities(examples: Sequence[Example], vocab: Vocab) -> tuple[Any, Any, Crossing]:
    """Entities of references on the tokens of the predicted docs.

    examples (Sequence[Example]): The examples.
    vocab (Vocab): Gets the labels' names.
    RETURNS (Tuple[Array, Array, Crossing]): ENT_IOB and ENT_TYPE of the tokens of all docs, shape (n_tokens,), and what
        cannot be said in them.
    """
    parts, crossing = [], Crossing()
    for example in examples:
        if same_tokens(example):
            parts.append(example.reference.to_array(["ENT_IOB", "ENT_TYPE"]))
            continue
        entities, tags = example.get_aligned_ents_and_ner()
        parts.append(_from_biluo(tags, vocab))
        crossing.add(example, len(example.reference.ents) - len(entities))
        crossing.total += len(example.reference.ents)
    given = numpy.concatenate(parts)
    iob, ids = given[:, 0].astype("int64"), given[:, 1]
    # What is blocked on a doc says that nothing was looked for, as in spaCy.
    iob[((iob == BEGIN) | (iob == INSIDE)) & (ids == 0)] = MISSING
    return iob, ids, crossing


def count_entities(examples: Iterable[Example], name: str) -> tuple[dict[str, int], Crossing]:
    """What a component can learn.

    examples (Iterable[Example]): The examples.
    name (str): Of the component.
    RETURNS (Tuple[Dict[str, int], Crossing]): How often each label is in references (a teacher may speak of labels that
        never are), and what crosses the tokens.
    """
    found, crossing = Counter[str](), Crossing()
    for example in examples:
        entities = example.reference.ents
        found.update(entity.label_ for entity in entities)
        found.update(dict.fromkeys(taught_labels(example, name), 0))
        crossing.total += len(entities)
        if entities and not same_tokens(example):
            aligned, _ = example.get_aligned_ents_and_ner()
            crossing.add(example, len(entities) - len(aligned))
    return found, crossing


def incorrect_spans(examples: Sequence[Example], key: str, labels: Sequence[str], name: str) -> list[IncorrectSpan]:
    """Spans that are known to be no entity of their label.

    examples (Sequence[Example]): The examples.
    key (str): Their group in the references.
    labels (Sequence[str]): Of the component; others do not count.
    name (str): Of the component, for messages.
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


def _from_biluo(tags: Sequence[str | None], vocab: Vocab) -> Any:
    """ENT_IOB and ENT_TYPE, uint64, shape (n_tokens, 2), of what spaCy's alignment gives."""
    iob = {"B": BEGIN, "U": BEGIN, "I": INSIDE, "L": INSIDE, "O": OUTSIDE, "-": MISSING}
    pairs = [(iob[(tag or "-")[0]], vocab.strings.add(tag[2:]) if tag and tag[2:] else 0) for tag in tags]
    return numpy.array(pairs, dtype="uint64").reshape(-1, 2)
