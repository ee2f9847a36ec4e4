"""What token heads decide, as a function of their temperature, which divides logits and scores of neighbours alike: so
the best sequence stays the best. For `heads.calibration`. Arrays only."""

from dataclasses import dataclass
from typing import Any

import numpy

from .crf import Chain, Transitions

_LEAST = 1e-12


@dataclass
class TagDecisions:
    """Tags of tokens.

    logits (Floats2d): Before the temperature, shape (n_tokens, n_tags).
    lengths (Array): Tokens of every doc, shape (n_docs,).
    transitions (Optional[Transitions]): Scores of neighbours; None with the softmax decoder.
    tags (Array): What is predicted, int, shape (n_tokens,).
    golds (Array): What is true; -1 where that is not known.
    """

    logits: Any
    lengths: Any
    transitions: Transitions | None
    tags: Any
    golds: Any

    def __len__(self) -> int:
        return int((self.golds >= 0).sum())

    def scores(self, temperature: float) -> Any:
        """RETURNS (Floats2d): Probabilities of every tag at every token: with a CRF, its marginals."""
        logits = numpy.asarray(self.logits, dtype="d") / temperature
        if self.transitions is not None:
            return Chain(logits, self.lengths, self.transitions.map(lambda part: part / temperature)).marginals
        weights = numpy.exp(logits - logits.max(axis=1, keepdims=True, initial=-numpy.inf))
        return weights / weights.sum(axis=1, keepdims=True)

    def nll(self, temperature: float) -> float:
        """Of the true tag of each token, whatever the others are."""
        known = numpy.flatnonzero(self.golds >= 0)
        true = self.scores(temperature)[known, self.golds[known]]
        return float(-numpy.log(numpy.maximum(true, _LEAST)).sum())

    def confidences(self, temperature: float) -> tuple[Any, Any]:
        """The probability of each predicted tag, and whether it is the true one."""
        known = numpy.flatnonzero(self.golds >= 0)
        scores = self.scores(temperature)[known, self.tags[known]]
        return scores, (self.tags[known] == self.golds[known]).astype("d")


class JudgedEntities:
    """Entities that are predicted. Their temperature is fitted to what is shown of them: the chance that each is right
    (binary log-likelihood). The likelihood of whole tag sequences would be decided by the many tokens outside of
    entities, and by entities that are missed, of which nobody sees a probability."""

    right: Any = None
    """1 where an entity is right, 0 where it is wrong, NaN where that is not known, float, shape (n_entities,)."""

    def scores(self, temperature: float) -> Any:
        """RETURNS (Floats1d): Probability of each entity: that just this span carries just this label."""
        raise NotImplementedError

    def __len__(self) -> int:
        return int(numpy.isfinite(self.right).sum())

    def nll(self, temperature: float) -> float:
        """Of each entity being right or wrong, as it is."""
        scores, right = self.confidences(temperature)
        said = numpy.where(right > 0.5, scores, 1.0 - scores)
        return float(-numpy.log(numpy.maximum(said, _LEAST)).sum())

    def confidences(self, temperature: float) -> tuple[Any, Any]:
        """The probability of each entity, and whether it is right."""
        known = numpy.isfinite(self.right)
        return self.scores(temperature)[known], self.right[known]


@dataclass
class EntityDecisions(JudgedEntities):
    """Entities in well-formed tags.

    logits (Floats2d): Before the temperature, -inf where a tag is not allowed; of docs with entities alone, shape
        (n_tokens, n_tags).
    lengths (Array): Tokens of these docs.
    transitions (Transitions): Scores of neighbours, -inf where they are not allowed.
    starts (Array), ends (Array): First tokens and tokens after the last ones, counted through these docs.
    tags (Array): Of the tokens of the entities, entity after entity.
    may_follow (Array): Which tags after a tag (row) do not go on with an entity, bool, shape (n_tags, n_tags).
    right (Optional[Array]): See `JudgedEntities`.
    """

    logits: Any
    lengths: Any
    transitions: Transitions
    starts: Any
    ends: Any
    tags: Any
    may_follow: Any
    right: Any = None

    def scores(self, temperature: float) -> Any:
        """RETURNS (Floats1d): Probability of each entity: that just this span carries just this label."""
        if not len(self.starts):
            return numpy.zeros(0)
        logits = numpy.asarray(self.logits, dtype="d") / temperature
        chain = Chain(logits, self.lengths, self.transitions.map(lambda part: part / temperature))
        return chain.span_marginals(self.starts, self.ends, self.tags, self.may_follow)
