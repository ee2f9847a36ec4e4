"""From tags to entities: the constraints of what docs have already, the best tags, new entities beside old ones, and
`ent._.confidence`."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from spacy.tokens import Doc, Span
from spacy.util import logger

from ...errors import Warnings
from ...heads.tagging.crf import Transitions, viterbi
from ...heads.tagging.lenient import LenientEntities, read_leniently
from ...heads.tagging.schemes import BEGIN, INSIDE, MISSING, NO_LABEL, OUTSIDE, Scheme, find_runs
from ...heads.tagging.token_decisions import JudgedEntities
from ...heads.tagging.tokens import TokenScores
from ...types import Bools, Floats, Ints
from .tokens import first_tokens, part_of

MARK = "probabilities_of"
"""In the attrs of a span group: the component whose entities it holds."""


@dataclass
class Entities:
    """What was found in a batch, doc after doc.

    attributes (Array): ENT_IOB and ENT_TYPE of every token, uint64, shape (n_tokens, 2).
    lengths (Array): Tokens of every doc, shape (n_docs,).
    starts (Array), ends (Array): First tokens and tokens after the last ones, counted through all docs.
    labels (Array): spaCy's numbers of the labels.
    scores (Array): Probabilities.
    """

    attributes: Ints
    lengths: Ints
    starts: Ints
    ends: Ints
    labels: Ints
    scores: Floats


class Given:
    """What the tokens of docs have before prediction.

    docs (Sequence[Doc]): With tokens.
    lengths (Array): Of the docs.
    """

    def __init__(self, docs: Sequence[Doc], lengths: Ints) -> None:
        given = numpy.concatenate([doc.to_array(["ENT_IOB", "ENT_TYPE", "SENT_START", "IS_SPACE"]) for doc in docs])
        self.iob, self.types = given[:, 0].astype("int64"), given[:, 1]
        self.preset: Bools = (self.iob == BEGIN) | (self.iob == INSIDE)
        self.first = first_tokens(lengths)
        self.sentences: Bools = (given[:, 2].astype("int64") == 1) & ~self.first & ~self.preset
        self.spaces: Bools = (given[:, 3] != 0) & ~self.preset

    def mask(self, scheme: Scheme, labels: Ints) -> Bools:
        """RETURNS (Array): Tags that agree with the entities of the docs, bool, shape (n_tokens, n_tags).

        labels (Array): The indices of their labels; -1 where there is none.
        """
        labels = numpy.where(self.types == 0, NO_LABEL, labels)
        return scheme.mask(numpy.where(self.preset, self.iob, MISSING), labels, self.first)

    def constraints(self, scheme: Scheme, labels: Ints) -> Bools | None:
        """RETURNS (Optional[Array]): Allowed tags; None for all. O is no constraint, as in spaCy: rulers set it on all
        other tokens.

        labels (Array): As for `mask`.
        """
        if not (self.preset.any() or self.sentences.any() or self.spaces.any()):
            return None
        mask = self.mask(scheme, labels)
        mask[self.spaces] &= ~scheme.opens
        mask[self.sentences] &= ~scheme.goes_on
        return mask

    def read(self, scheme: Scheme, logits: Floats, labels: Ints) -> LenientEntities:
        """RETURNS (LenientEntities): For `lenient`. Sentence starts, and entities that were there, end the entities
        beside them.

        labels (Array): As for `mask`.
        """
        breaks = self.first | self.sentences
        if self.preset.any():
            logits = numpy.where(self.mask(scheme, labels), logits, -numpy.inf)
            breaks[1:] |= self.preset[:-1] & ~self.preset[1:]
        return read_leniently(scheme, logits, breaks, self.spaces)


@dataclass
class Found:
    """The entities in the tags of a batch, before a threshold: first tokens, ends, indices of labels, probabilities."""

    given: Given
    starts: Ints
    ends: Ints
    labels: Ints
    spans: JudgedEntities

    def entities(self, lengths: Ints, label_ids: Ints, temperature: float, threshold: float) -> Entities:
        """RETURNS (Entities): Those that are probable enough, beside those that were there."""
        given, starts, ends = self.given, self.starts, self.ends
        probabilities = self.spans.scores(temperature)
        iob, types = numpy.where(given.preset, given.iob, OUTSIDE), numpy.where(given.preset, given.types, 0)
        kept = (probabilities >= threshold) & ~given.preset[starts]
        starts, ends, labels = starts[kept], ends[kept], label_ids[self.labels[kept]]
        sizes = ends - starts
        inside = numpy.arange(sizes.sum()) + numpy.repeat(starts - (numpy.cumsum(sizes) - sizes), sizes)
        iob[inside], types[inside] = INSIDE, numpy.repeat(labels, sizes)
        iob[starts] = BEGIN
        of_token = numpy.ones(len(iob))
        of_token[starts] = probabilities[kept]
        if given.preset.any():
            runs = find_runs(iob, numpy.where(types == 0, NO_LABEL, 0), given.first)
            starts, ends = numpy.flatnonzero(runs.starts), numpy.flatnonzero(runs.lasts) + 1
            labels = types[starts]
        attributes = numpy.stack([iob.astype("uint64"), types], axis=1)
        return Entities(attributes, lengths, starts, ends, labels, of_token[starts])


def no_entities(lengths: Ints) -> Entities:
    """RETURNS (Entities): Those of docs without tokens."""
    none = numpy.zeros(0, dtype="int64")
    return Entities(numpy.zeros((0, 2), "uint64"), lengths, none, none, none, numpy.zeros(0))


def best_tags(scores: TokenScores, logits: Floats, transitions: Transitions, allowed: Transitions) -> Ints:
    """The best well-formed tags.

    logits (Array): On the CPU, -inf for tags that are not allowed.
    transitions (Transitions): Scores of neighbours; -inf where not allowed.
    RETURNS (Array): Shape (n_tokens,).
    """
    if scores.transitions is not None:
        return viterbi(logits, scores.lengths, transitions)
    # Without scores of neighbours, the best tag of each token is the best sequence, if it is well-formed.
    tags, first = logits.argmax(axis=1), first_tokens(scores.lengths)
    wrong = first & ~allowed.start[tags]
    wrong[1:] |= ~first[1:] & ~allowed.matrix[tags[:-1], tags[1:]]
    wrong |= numpy.append(first[1:], True) & ~allowed.end[tags]
    if wrong.any():
        chosen, lengths = part_of(scores.lengths, numpy.flatnonzero(wrong))
        tags[chosen] = viterbi(logits[chosen], lengths, transitions)
    return tags


def confidence(span: Span) -> float | None:
    """`ent._.confidence`: the probability of an entity, from the span group in which a `transfer_ner` left it.

    span (Span): An entity.
    RETURNS (Optional[float]): Between 0 and 1; None for a span that none of them found.
    """
    for group in span.doc.spans.values():
        if MARK in group.attrs:
            at = bisect_left(range(len(group)), span.start, key=lambda i: group[i].start)
            if at < len(group) and (group[at].end, group[at].label) == (span.end, span.label):
                return group.attrs["scores"][at]
    return None


def register_confidence(spans_key: str) -> None:
    """Declare the extension attribute, unless the user has one of that name.

    spans_key (str): Where the probabilities are anyway, for the warning.
    """
    if not Span.has_extension("confidence"):
        Span.set_extension("confidence", getter=confidence)
    elif Span.get_extension("confidence")[2] is not confidence:
        logger.warning(Warnings.W332.format(key=spans_key))
