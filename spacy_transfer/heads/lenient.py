"""Entities read from the best tag of each token, whatever its neighbours are, as conlleval does."""

from dataclasses import dataclass
from typing import Any

import numpy

from .schemes import Scheme
from .token_decisions import JudgedEntities


@dataclass
class LenientEntities(JudgedEntities):
    """The entities that were read, and what their probabilities follow from.

    starts (Array), ends (Array): First tokens, and tokens after the last ones.
    labels (Array): Indices of labels, shape (n_entities,).
    scheme (Scheme): The tags.
    logits (Array): Of the tokens that are words, shape (n_words, n_tags).
    breaks (Array): Where among these no entity goes on, shape (n_words,).
    words (Tuple[Array, Array]): Starts and ends as words are counted.
    """

    starts: Any
    ends: Any
    labels: Any
    scheme: Scheme
    logits: Any
    breaks: Any
    words: tuple[Any, Any]

    def scores(self, temperature: float = 1.0) -> Any:
        """RETURNS (Array): The probabilities that tags drawn for each token by itself are read as just this entity,
        shape (n_entities,).

        temperature (float): Divides the logits.
        """
        if not len(self.starts):
            return numpy.zeros(0)
        shares = softmax(numpy.asarray(self.logits, dtype="d") / temperature)
        return probabilities_of(self.scheme, shares, self.breaks, (*self.words, self.labels))


def read_leniently(scheme: Scheme, logits: Any, breaks: Any, skipped: Any) -> LenientEntities:
    """The entities in the best tags. A tag that goes on with nothing ("I-PER" after "O", or after another label) begins
    an entity, and one that should go on and does not is its last: so every token whose best tag is not "O" is in an
    entity of that tag's label. So do conlleval (Sang and Buchholz 2000) and transformers' pipelines.

    scheme (Scheme): The tags.
    logits (Array): Of every tag at every token; -inf where a tag is not allowed. Shape (n_tokens, n_tags).
    breaks (Array): Where no entity goes on from the token before: at the first token of a doc, and where else somebody
        says so; bool, shape (n_tokens,).
    skipped (Array): Tokens that are no words: what stands on both sides of one is read as neighbours, and it is in an
        entity if both are; bool, shape (n_tokens,).
    RETURNS (LenientEntities): In order.
    """
    kept = numpy.flatnonzero(~skipped)
    run = numpy.cumsum(breaks)[kept]
    breaks = numpy.ones(len(kept), dtype=bool)
    breaks[1:] = run[1:] != run[:-1]
    starts, ends, labels = entities(scheme, logits[kept].argmax(axis=1), breaks)
    return LenientEntities(kept[starts], kept[ends - 1] + 1, labels, scheme, logits[kept], breaks, (starts, ends))


def entities(scheme: Scheme, tags: Any, breaks: Any) -> tuple[Any, Any, Any]:
    """The entities in tags that need not be well-formed.

    scheme (Scheme): The tags.
    tags (Array): Indices of tags, shape (n_tokens,).
    breaks (Array): Where no entity goes on, the first token included; bool, shape (n_tokens,).
    RETURNS (Tuple[Array, Array, Array]): First tokens, tokens after the last ones, and indices of labels.
    """
    label, may_go_on = scheme.label[tags], numpy.isin(scheme.part, ["B", "I"])[tags]
    joined = scheme.goes_on[tags] & ~breaks
    joined[1:] &= may_go_on[:-1] & (label[1:] == label[:-1])
    inside = tags > 0
    starts = numpy.flatnonzero(inside & ~joined)
    ends = numpy.flatnonzero(inside & ~numpy.append(joined[1:], False)) + 1
    return starts, ends, label[starts]


def probabilities_of(scheme: Scheme, shares: Any, breaks: Any, found: tuple[Any, Any, Any]) -> Any:
    """Probability of entities where tokens are independent: a product over the tokens of an entity, and over the one
    before and the one after it, which must not be read as parts of it.

    scheme (Scheme): The tags.
    shares (Array): Probability of every tag at every token, shape (n_tokens, n_tags).
    breaks (Array): As in `entities`.
    found (Tuple[Array, Array, Array]): What that returned.
    RETURNS (Array): Shape (n_entities,).
    """
    starts, ends, labels = found
    if not len(starts):
        return numpy.zeros(0)

    def share(part: str, at: Any, labels: Any) -> Any:
        if part not in scheme.row:
            return numpy.zeros(len(at))
        return shares[at, labels * len(scheme.parts) + scheme.row[part]]

    before = share("B", starts - 1, labels) + share("I", starts - 1, labels)
    free_before = 1.0 - numpy.where(breaks[starts], 0.0, before)
    inner = ends < len(breaks)
    after = numpy.where(inner, ends, 0)
    goes_on = share("I", after, labels) + share("L", after, labels)
    free_after = 1.0 - numpy.where(inner & ~breaks[after], goes_on, 0.0)

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


def softmax(logits: Any) -> Any:
    """RETURNS (Array): Probabilities in float64.

    logits (Array): Shape (n_tokens, n_tags).
    """
    shifted = numpy.asarray(logits, dtype="d")
    weights = numpy.exp(shifted - shifted.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
