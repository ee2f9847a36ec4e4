"""Decisions of token heads as functions of their temperature, for `heads.calibration`. It divides logits and scores of
neighbours alike, so that the best sequence stays the best. Arrays only."""

from dataclasses import dataclass, field

import numpy

from ...types import Bools, Floats, Ints
from ..soft_losses import soften
from .crf import Chain, Transitions

_LEAST = 1e-12


@dataclass
class TagDecisions:
    """Tags of tokens.

    logits (Floats): Before the temperature, shape (n_tokens, n_tags).
    lengths (Ints): Tokens of every doc, shape (n_docs,).
    transitions (Optional[Transitions]): Scores of neighbours; None with the softmax decoder.
    tags (Ints): Predictions, shape (n_tokens,).
    golds (Ints): The true tags; -1 where they are not known.
    """

    logits: Floats
    lengths: Ints
    transitions: Transitions | None
    tags: Ints
    golds: Ints

    def __len__(self) -> int:
        return int((self.golds >= 0).sum())

    def scores(self, temperature: float) -> Floats:
        """RETURNS (Floats): Probabilities of every tag at every token: with a CRF, its marginals."""
        logits = numpy.asarray(self.logits, dtype="d")
        if self.transitions is None:
            return soften(numpy, logits, temperature)
        transitions = self.transitions.map(lambda part: part / temperature)
        return Chain(logits / temperature, self.lengths, transitions).marginals

    def nll(self, temperature: float) -> float:
        """Of the true tag of each token, summed over all other tags."""
        known = numpy.flatnonzero(self.golds >= 0)
        true = self.scores(temperature)[known, self.golds[known]]
        return float(-numpy.log(numpy.maximum(true, _LEAST)).sum())

    def confidences(self, temperature: float) -> tuple[Floats, Floats]:
        """The probability of each predicted tag, and whether it is the true one."""
        known = numpy.flatnonzero(self.golds >= 0)
        scores = self.scores(temperature)[known, self.tags[known]]
        return scores, (self.tags[known] == self.golds[known]).astype("d")


class JudgedEntities:
    """Predicted entities. Their temperature is fitted to their confidences: the chance that each is right (binary
    log-likelihood). The likelihood of tag sequences would depend mostly on the many tokens outside of entities, and on
    missed entities, which have no confidence."""

    right: Floats
    """1 where an entity is right, 0 where it is wrong, NaN where that is not known, float, shape (n_entities,)."""

    def scores(self, temperature: float) -> Floats:
        """RETURNS (Floats): Probability of each entity: that exactly this span has exactly this label."""
        raise NotImplementedError

    def __len__(self) -> int:
        return int(numpy.isfinite(self.right).sum())

    def nll(self, temperature: float) -> float:
        """Binary: of each entity being right, or wrong."""
        scores, right = self.confidences(temperature)
        said = numpy.where(right > 0.5, scores, 1.0 - scores)
        return float(-numpy.log(numpy.maximum(said, _LEAST)).sum())

    def confidences(self, temperature: float) -> tuple[Floats, Floats]:
        """The probability of each entity, and whether it is right."""
        known = numpy.isfinite(self.right)
        return self.scores(temperature)[known], self.right[known]


@dataclass
class EntityDecisions(JudgedEntities):
    """Entities in well-formed tags.

    logits (Floats): Before the temperature, -inf where a tag is not allowed; of docs with entities alone, shape
        (n_tokens, n_tags).
    transitions (Transitions): Scores of neighbours, -inf where they are not allowed.
    starts (Ints), ends (Ints): First tokens and tokens after the last ones, counted through these docs.
    tags (Ints): Of the tokens of the entities, entity after entity.
    may_follow (Bools): Which tags after a tag (row) do not continue an entity, shape (n_tags, n_tags).
    """

    logits: Floats
    lengths: Ints
    transitions: Transitions
    starts: Ints
    ends: Ints
    tags: Ints
    may_follow: Bools
    right: Floats = field(default_factory=lambda: numpy.zeros(0))

    def scores(self, temperature: float) -> Floats:
        if not len(self.starts):
            return numpy.zeros(0)
        logits = numpy.asarray(self.logits, dtype="d") / temperature
        chain = Chain(logits, self.lengths, self.transitions.map(lambda part: part / temperature))
        return chain.span_marginals(self.starts, self.ends, self.tags, self.may_follow)
