"""Entities as tags: BIO (Ramshaw and Marcus 1995) and BILUO (Ratinov and Roth 2009), in arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy

from ...types import Bools, Floats, Ints
from .crf import Transitions, unlikelihood_loss

SchemeKind = Literal["bio", "biluo"]
MISSING, INSIDE, OUTSIDE, BEGIN = 0, 1, 2, 3
"""spaCy's values of ENT_IOB."""
UNKNOWN, NO_LABEL = -1, -2
"""Instead of the index of a label: a label that the head does not have; no label."""


class Scheme:
    """The tags of a label set, and which of them may be neighbours.

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
            # After B and I the entity must continue until its L.
            allowed &= ~from_open[:, None] | same
            last = ~from_open
        self.allowed = Transitions(*(cast(Floats, mask) for mask in (~self.goes_on, allowed, last)))
        self.may_follow = allowed & ~same

    def entity_tags(self, labels: Ints, is_first: Bools, is_last: Bools) -> Ints:
        """Tags of tokens inside entities.

        labels (Ints): Index of the label of each, shape (n,).
        is_first (Bools), is_last (Bools): Whether a token is the first, the last of its entity.
        RETURNS (Ints): Indices of tags, shape (n,).
        """
        row: Ints = numpy.where(is_first, self.row["B"], self.row["I"])
        if self.parts != "BI":
            row = numpy.where(is_last, numpy.where(is_first, self.row["U"], self.row["L"]), row)
        return labels * len(self.parts) + row

    def mask(self, iob: Ints, labels: Ints, first: Bools) -> Bools:
        """Tags that agree with what is known of each token.

        iob (Ints): As in ENT_IOB: 0 if nothing is known, 1 inside, 2 outside, 3 at the beginning; shape (n_tokens,).
        labels (Ints): Index of the label where iob is 1 or 3. UNKNOWN and NO_LABEL are no entity of the head.
        first (Bools): Whether a token is the first of its doc.
        RETURNS (Bools): Shape (n_tokens, n_tags). No tag after an entity continues it, even where nothing else is
            known.
        """
        runs = find_runs(iob, labels, first)
        mask = numpy.zeros((len(iob), len(self.tags)), dtype=bool)
        mask[iob == MISSING] = True
        mask[:, 0] |= iob != MISSING
        known = numpy.flatnonzero(runs.inside & (labels >= 0))
        mask[known] = False
        mask[known, self.entity_tags(labels[known], runs.starts[known], runs.lasts[known])] = True
        after = numpy.flatnonzero(runs.lasts[:-1] & ~first[1:]) + 1
        after = after[iob[after] == MISSING]
        mask[after] &= ~self.goes_on
        return mask

    def span_mask(self, n_tokens: int, start: int, end: int, label: int) -> Bools:
        """Tags that form exactly one entity; all tags elsewhere.

        start (int), end (int): First token, and token after the last.
        RETURNS (Bools): Shape (n_tokens, n_tags).
        """
        mask = numpy.ones((n_tokens, len(self.tags)), dtype=bool)
        at = numpy.arange(start, end)
        tags = self.entity_tags(numpy.full(end - start, label), at == start, at == end - 1)
        mask[start:end] = False
        mask[at, tags] = True
        if end < n_tokens:
            mask[end] = self.may_follow[tags[-1]]
        return mask

    def entities(self, tags: Ints, first: Bools) -> tuple[Ints, Ints, Ints]:
        """The entities in well-formed tags.

        tags (Ints): Indices of tags, shape (n_tokens,).
        first (Bools): Whether a token is the first of its doc.
        RETURNS (Tuple[Ints, Ints, Ints]): First tokens, tokens after the last ones, and indices of labels; each of
            shape (n_entities,).
        """
        inside, opens = tags > 0, self.opens[tags]
        lasts = inside & ~_of_next(self.goes_on[tags] & ~first)
        starts = numpy.flatnonzero(opens)
        return starts, numpy.flatnonzero(lasts) + 1, self.label[tags[starts]]


def span_unlikelihood(
    scheme: Scheme, logits: Floats, lengths: Ints, transitions: Transitions, wrong: Sequence[tuple[int, int, int, int]]
) -> tuple[float, Floats, Transitions]:
    """The unlikelihood loss of wrong spans. A doc is scored once for each of its wrong spans.

    logits (Floats): Shape (n_tokens, n_tags).
    transitions (Transitions): Scores of neighbours, -inf where they are not allowed.
    wrong (Sequence[Tuple[int, int, int, int]]): Doc, first token in it, token after the last, label.
    RETURNS (Tuple[float, Floats, Transitions]): Summed loss, and its gradients.
    """
    ends = numpy.cumsum(lengths)
    places = [numpy.arange(ends[i] - lengths[i], ends[i]) for i, *_ in wrong]
    sizes = numpy.array([len(place) for place in places])
    masks = [scheme.span_mask(n, *span) for n, (_, *span) in zip(sizes.tolist(), wrong, strict=True)]
    tokens, d_logits = numpy.concatenate(places), numpy.zeros(logits.shape)
    loss, d_tokens, d_between = unlikelihood_loss(logits[tokens], sizes, transitions, numpy.concatenate(masks))
    numpy.add.at(d_logits, tokens, d_tokens)
    return loss, d_logits, d_between


@dataclass
class Runs:
    """Entities among tokens.

    inside (Bools), starts (Bools), lasts (Bools): Whether a token is in an entity, is the first, the last of one; shape
        (n_tokens,).
    """

    inside: Bools
    starts: Bools
    lasts: Bools


def find_runs(iob: Ints, labels: Ints, first: Bools) -> Runs:
    """Entities in spaCy's attributes.

    iob (Ints): ENT_IOB, shape (n_tokens,).
    labels (Ints): Index of the label; NO_LABEL where ENT_TYPE is 0: "no entity may be here".
    first (Bools): Whether a token is the first of its doc.
    """
    inside = ((iob == BEGIN) | (iob == INSIDE)) & (labels != NO_LABEL)
    before = numpy.zeros_like(inside)
    before[1:] = inside[:-1] & ~first[1:]
    starts = inside & ((iob == BEGIN) | ~before)
    return Runs(inside, starts, inside & ~_of_next(inside & ~starts))


def _of_next(values: Bools) -> Bools:
    shifted = numpy.zeros_like(values)
    shifted[:-1] = values[1:]
    return shifted
