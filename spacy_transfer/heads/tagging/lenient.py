"""Entities from the best tag of each token, independent of its neighbours, as in conlleval."""

from dataclasses import dataclass

import numpy

from ...types import Bools, Floats, Ints
from ..soft_losses import soften
from .schemes import Scheme
from .token_decisions import JudgedEntities

Spans = tuple[Ints, Ints, Ints]
"""Entities: first tokens, tokens after the last ones, and indices of labels, each of shape (n_entities,)."""


@dataclass
class LenientEntities(JudgedEntities):
    """Entities that were read from the best tags, and the logits that give their probabilities.

    starts (Ints), ends (Ints): First tokens, and tokens after the last ones.
    labels (Ints): Indices of labels, shape (n_entities,).
    logits (Floats): Of the tokens that are words, shape (n_words, n_tags).
    breaks (Bools): The words at which no entity continues, shape (n_words,).
    words (Tuple[Ints, Ints]): Starts and ends, counted in words.
    """

    starts: Ints
    ends: Ints
    labels: Ints
    scheme: Scheme
    logits: Floats
    breaks: Bools
    words: tuple[Ints, Ints]

    def scores(self, temperature: float = 1.0) -> Floats:
        """RETURNS (Floats): The probabilities that tags drawn for each token by itself are read as exactly this entity,
        shape (n_entities,)."""
        if not len(self.starts):
            return numpy.zeros(0)
        shares = soften(numpy, numpy.asarray(self.logits, dtype="d"), temperature)
        return probabilities_of(self.scheme, shares, self.breaks, (*self.words, self.labels))


def read_leniently(scheme: Scheme, logits: Floats, breaks: Bools, skipped: Bools) -> LenientEntities:
    """The entities in the best tags. A tag that continues no entity ("I-PER" after "O", or after another label)
    begins one, and an entity that is not continued ends: so every token whose best tag is not "O" is in an entity of
    that tag's label, as in conlleval (Sang and Buchholz 2000) and transformers' pipelines.

    logits (Floats): Of every tag at every token; -inf where a tag is not allowed. Shape (n_tokens, n_tags).
    breaks (Bools): Tokens at which no entity continues, the first of each doc among them; shape (n_tokens,).
    skipped (Bools): Tokens that are no words: the words around one are read as neighbours, and it is in an entity if
        both are; shape (n_tokens,).
    """
    kept = numpy.flatnonzero(~skipped)
    run = numpy.cumsum(breaks)[kept]
    breaks = numpy.ones(len(kept), dtype=bool)
    breaks[1:] = run[1:] != run[:-1]
    starts, ends, labels = entities(scheme, logits[kept].argmax(axis=1), breaks)
    return LenientEntities(kept[starts], kept[ends - 1] + 1, labels, scheme, logits[kept], breaks, (starts, ends))


def entities(scheme: Scheme, tags: Ints, breaks: Bools) -> Spans:
    """The entities in tags that need not be well-formed.

    tags (Ints): Indices of tags, shape (n_tokens,).
    breaks (Bools): Tokens at which no entity continues, the first included; shape (n_tokens,).
    """
    label, is_open = scheme.label[tags], numpy.isin(scheme.part, ["B", "I"])[tags]
    joined = scheme.goes_on[tags] & ~breaks
    joined[1:] &= is_open[:-1] & (label[1:] == label[:-1])
    inside = tags > 0
    starts = numpy.flatnonzero(inside & ~joined)
    ends = numpy.flatnonzero(inside & ~numpy.append(joined[1:], False)) + 1
    return starts, ends, label[starts]


def probabilities_of(scheme: Scheme, shares: Floats, breaks: Bools, found: Spans) -> Floats:
    """Probability of entities where tokens are independent: a product over the tokens of an entity, and over the one
    before and the one after it, which must not be read as parts of it.

    shares (Floats): Probability of every tag at every token, shape (n_tokens, n_tags).
    breaks (Bools): As in `entities`.
    RETURNS (Floats): Shape (n_entities,).
    """
    starts, ends, labels = found
    if not len(starts):
        return numpy.zeros(0)

    def share(part: str, at: Ints, labels: Ints) -> Floats:
        if part not in scheme.row:
            return numpy.zeros(len(at))
        picked: Floats = shares[at, labels * len(scheme.parts) + scheme.row[part]]
        return picked

    before = share("B", starts - 1, labels) + share("I", starts - 1, labels)
    free_before = 1.0 - numpy.where(breaks[starts], 0.0, before)
    inner = ends < len(breaks)
    after = numpy.where(inner, ends, 0)
    continues = share("I", after, labels) + share("L", after, labels)
    free_after = 1.0 - numpy.where(inner & ~breaks[after], continues, 0.0)

    sizes, lasts = ends - starts, ends - 1
    begins = numpy.cumsum(sizes) - sizes
    at = numpy.arange(sizes.sum()) + numpy.repeat(starts - begins, sizes)
    factors = share("I", at, numpy.repeat(labels, sizes))
    factors[begins + sizes - 1] = share("L", lasts, labels) + share("I", lasts, labels) * free_after
    alone = share("U", starts, labels) + share("B", starts, labels) * free_after
    alone += free_before * (share("L", starts, labels) + share("I", starts, labels) * free_after)
    first = share("B", starts, labels) + share("I", starts, labels) * free_before
    factors[begins] = numpy.where(sizes == 1, alone, first)
    return numpy.clip(numpy.multiply.reduceat(factors, begins), 0.0, 1.0)
