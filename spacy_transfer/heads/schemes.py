"""Entities as tags: BIO (Ramshaw and Marcus 1995) and BILUO (Ratinov and Roth 2009), in arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy

from .crf import Transitions

SchemeKind = Literal["bio", "biluo"]
MISSING, INSIDE, OUTSIDE, BEGIN = 0, 1, 2, 3
"""spaCy's values of ENT_IOB."""
UNKNOWN, NO_LABEL = -1, -2
"""In place of the index of a label: one that the head does not have, and none."""


class Scheme:
    """The tags of a label set, and which of them may stand side by side.

    labels (Sequence[str]): The labels.
    kind (str): "bio" or "biluo".
    """

    def __init__(self, labels: Sequence[str], kind: SchemeKind) -> None:
        self.parts = "BI" if kind == "bio" else "BILU"
        self.tags = ("O", *(f"{part}-{label}" for label in labels for part in self.parts))
        self.part = numpy.array([tag[0] for tag in self.tags])
        n_parts = len(self.parts)
        self.label = numpy.array([-1, *(i // n_parts for i in range(n_parts * len(labels)))])
        self.opens = numpy.isin(self.part, ["B", "U"])
        self.goes_on = numpy.isin(self.part, ["I", "L"])
        self.row = {part: 1 + self.parts.index(part) for part in self.parts}

        same = (self.label[:, None] == self.label) & self.goes_on
        from_open = numpy.isin(self.part, ["B", "I"])
        allowed = ~self.goes_on | (same & from_open[:, None])
        last = numpy.ones(len(self.tags), dtype=bool)
        if kind == "biluo":
            # What is open must go on until its L.
            allowed &= ~from_open[:, None] | same
            last = ~from_open
        self.allowed = Transitions(~self.goes_on, allowed, last)
        self.may_follow = allowed & ~same

    def entity_tags(self, labels: Any, is_first: Any, is_last: Any) -> Any:
        """Tags of tokens inside entities.

        labels (Array): Index of the label of each, shape (n,).
        is_first (Array), is_last (Array): Whether a token is the first, the last of its entity; bool.
        RETURNS (Array): Indices of tags, shape (n,).
        """
        if self.parts == "BI":
            row = numpy.where(is_first, self.row["B"], self.row["I"])
        else:
            within = numpy.where(is_first, self.row["B"], self.row["I"])
            row = numpy.where(is_last, numpy.where(is_first, self.row["U"], self.row["L"]), within)
        return labels * len(self.parts) + row

    def mask(self, iob: Any, labels: Any, first: Any) -> Any:
        """Tags that agree with what is known of each token.

        iob (Array): As in ENT_IOB: 0 if nothing is known, 1 inside, 2 outside, 3 at the beginning; shape (n_tokens,).
        labels (Array): Index of the label where iob is 1 or 3. UNKNOWN and NO_LABEL stand for no entity of the head.
        first (Array): Whether a token is the first of its doc; bool.
        RETURNS (Array): Bool, shape (n_tokens, n_tags). After an entity nothing goes on with it, even where nothing
            else is known.
        """
        runs = find_runs(iob, labels, first)
        mask = numpy.zeros((len(iob), len(self.tags)), dtype=bool)
        mask[iob == MISSING] = True
        mask[:, 0] |= iob != MISSING
        mine = numpy.flatnonzero(runs.inside & (labels >= 0))
        mask[mine] = False
        mask[mine, self.entity_tags(labels[mine], runs.starts[mine], runs.lasts[mine])] = True
        after = numpy.flatnonzero(runs.lasts[:-1] & ~first[1:]) + 1
        after = after[iob[after] == MISSING]
        mask[after] &= ~self.goes_on
        return mask

    def span_mask(self, n_tokens: int, start: int, end: int, label: int) -> Any:
        """Tags that make up an entity, and end where it ends.

        n_tokens (int): Of the doc.
        start (int), end (int): First token, and token after the last.
        label (int): Index of the label.
        RETURNS (Array): Bool, shape (n_tokens, n_tags).
        """
        mask = numpy.ones((n_tokens, len(self.tags)), dtype=bool)
        at = numpy.arange(start, end)
        tags = self.entity_tags(numpy.full(end - start, label), at == start, at == end - 1)
        mask[start:end] = False
        mask[at, tags] = True
        if end < n_tokens:
            mask[end] = self.may_follow[tags[-1]]
        return mask

    def entities(self, tags: Any, first: Any) -> tuple[Any, Any, Any]:
        """The entities in well-formed tags.

        tags (Array): Indices of tags, shape (n_tokens,).
        first (Array): Whether a token is the first of its doc; bool.
        RETURNS (Tuple[Array, Array, Array]): First tokens, tokens after the last ones, and indices of labels; each of
            shape (n_entities,).
        """
        inside, opens = tags > 0, self.opens[tags]
        lasts = inside & ~_of_next(self.goes_on[tags] & ~first)
        starts = numpy.flatnonzero(opens)
        return starts, numpy.flatnonzero(lasts) + 1, self.label[tags[starts]]


@dataclass
class Runs:
    """Entities among tokens.

    inside (Array), starts (Array), lasts (Array): Whether a token is in an entity, is the first, the last of one;
        bool, shape (n_tokens,).
    """

    inside: Any
    starts: Any
    lasts: Any


def find_runs(iob: Any, labels: Any, first: Any) -> Runs:
    """Entities in spaCy's attributes.

    iob (Array): ENT_IOB, shape (n_tokens,).
    labels (Array): Index of the label; NO_LABEL where ENT_TYPE is 0: "no entity may be here".
    first (Array): Whether a token is the first of its doc; bool.
    RETURNS (Runs): Where they are.
    """
    inside = ((iob == BEGIN) | (iob == INSIDE)) & (labels != NO_LABEL)
    before = numpy.zeros_like(inside)
    before[1:] = inside[:-1] & ~first[1:]
    starts = inside & ((iob == BEGIN) | ~before)
    return Runs(inside, starts, inside & ~_of_next(inside & ~starts))


def _of_next(values: Any) -> Any:
    shifted = numpy.zeros_like(values)
    shifted[:-1] = values[1:]
    return shifted
