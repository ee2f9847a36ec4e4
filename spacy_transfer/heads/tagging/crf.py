"""Linear-chain conditional random fields (Lafferty et al. 2001), all sequences of a batch at once.

Sequences are not padded: tokens are sorted by position, and by length of their sequence, longest first. A loop over
positions covers only sequences that have not ended, and memory grows with the number of tokens. Sums are computed in
float64 from scaled probabilities (Rabiner 1989), where each position is one matrix product; from logs where a float
cannot hold those. What is not allowed has the score -inf: its probability is 0, and it gets no gradient.
"""

from functools import cached_property
from typing import cast

import numpy

from ...types import Bools, Floats, Ints
from .log_chain import LogChain, finite_max
from .packing import Packing
from .packing import Transitions as Transitions

_WIDEST = 250.0
"""Scores that lie further apart, as at very low temperatures, are summed as logs: their exponentials would be lost."""
_LEAST = 1e-150
"""So are sequences in which a position has less than this share of what was possible."""


class Chain:
    """Distributions over the tag sequences of a batch.

    scores (Floats): Of every tag at every token, sequence after sequence; -inf where a tag is not allowed. Shape
        (n_tokens, n_tags).
    lengths (Ints): Of the sequences, shape (n_sequences,).
    transitions (Transitions): With -inf where a transition is not allowed.
    """

    def __init__(self, scores: Floats, lengths: Ints, transitions: Transitions) -> None:
        self.packing = Packing(lengths)
        packed = numpy.asarray(scores, dtype="d")[self.packing.order]
        self._highest = finite_max(packed, axis=1)
        below = packed - self._highest[:, None]
        parts = (transitions.start, transitions.matrix, transitions.end)
        self._shifts = [finite_max(part) for part in parts]
        shifted = [part - shift for part, shift in zip(parts, self._shifts, strict=True)]
        self._logs: LogChain | None = None
        if _spread(below) + max(map(_spread, shifted)) <= _WIDEST:
            self._weights = numpy.exp(below)
            self._start, self._matrix, self._end = map(numpy.exp, shifted)
            self._run_forward()
            if min(self._scale.min(initial=1.0), self._end_scale.min(initial=1.0)) > _LEAST:
                return
        self._logs = LogChain(self.packing, packed, transitions.map(lambda part: numpy.asarray(part, "d")))

    def _run_forward(self) -> None:
        """`_alpha`: probability of each tag, given all tokens up to it; `_scale`: the divisor of each position."""
        weights, slices = self._weights, self.packing.slices
        self._alpha, self._scale = numpy.empty_like(weights), numpy.empty(len(weights))
        before: Floats | None = None
        for a, b in slices:
            reached = self._start if before is None else before[: b - a] @ self._matrix
            now = reached * weights[a:b]
            scale = now.sum(axis=1)
            before = now / numpy.where(scale > 0, scale, 1.0)[:, None]
            self._alpha[a:b], self._scale[a:b] = before, scale
        last = self._alpha[self._last_places()]
        self._end_scale = (last * self._end).sum(axis=1)

    def _last_places(self) -> Ints:
        """Packed places of the last tokens, sequences of length 0 left out."""
        full = self.packing.lengths > 0
        return cast(Ints, self.packing.place[(self.packing.first + self.packing.lengths - 1)[full]])

    @cached_property
    def log_z(self) -> Floats:
        """Log of the summed exp-scores of all sequences of tags, shape (n_sequences,): 0 for a sequence of no tokens,
        -inf where nothing is allowed."""
        if self._logs is not None:
            return self._logs.log_z
        packing, lengths = self.packing, self.packing.lengths
        each = numpy.log(self._scale) + self._highest
        start, step, end = self._shifts
        total = numpy.zeros(len(lengths))
        full = lengths > 0
        if full.any():
            sums = numpy.add.reduceat(each[packing.place], packing.first[full])
            total[full] = sums + numpy.log(self._end_scale) + start + end + step * (lengths[full] - 1)
        return total

    @cached_property
    def _beta(self) -> Floats:
        """Of all that follows a token, given its tag; `_alpha * _beta` are the marginals."""
        beta = numpy.empty_like(self._alpha)
        full = self.packing.lengths > 0
        scale = numpy.ones(len(self.packing.lengths))
        scale[full] = self._end_scale
        ends = self._end / scale[self.packing.by_length][:, None]
        steps = self._scaled_weights
        for i in reversed(range(len(self.packing.slices))):
            a, b = self.packing.slices[i]
            n = 0
            if i + 1 < len(self.packing.slices):
                c, d = self.packing.slices[i + 1]
                n = d - c
                beta[a : a + n] = (steps[c:d] * beta[c:d]) @ self._matrix.T
            beta[a + n : b] = ends[n : b - a]
        return beta

    @cached_property
    def _scaled_weights(self) -> Floats:
        return self._weights / self._scale[:, None]

    @cached_property
    def _marginals(self) -> Floats:
        return self._alpha * self._beta if self._logs is None else self._logs.marginals

    @property
    def marginals(self) -> Floats:
        """Probability of every tag at every token, shape (n_tokens, n_tags)."""
        return cast(Floats, self._marginals[self.packing.place])

    def expected(self, shares: Floats) -> tuple[Floats, Transitions]:
        """Gradient of the weighted sum of `log_z` with respect to all scores: how often each is expected to be used.

        shares (Floats): Weights of the sequences, shape (n_sequences,).
        RETURNS (Tuple[Floats, Transitions]): Shape (n_tokens, n_tags), and the same for transitions.
        """
        packing = self.packing
        share = numpy.asarray(shares, "d")[packing.sequence[packing.order]][:, None]
        marginals = self._marginals * share
        n_first = packing.slices[0][1] if packing.slices else 0
        sizes = numpy.array([b - a for a, b in packing.slices[:-1]], dtype="int64")
        counts = numpy.array([b - a for a, b in packing.slices[1:]], dtype="int64")
        later = numpy.arange(n_first, packing.n_tokens)
        before = later - numpy.repeat(sizes, counts)
        if self._logs is not None:
            matrix = self._logs.pairs(before, later, share[later, 0])
        else:
            after = (self._scaled_weights * self._beta * share)[later]
            matrix = (self._alpha[before].T @ after) * self._matrix
        transitions = Transitions(marginals[:n_first].sum(axis=0), matrix, marginals[self._last_places()].sum(axis=0))
        return marginals[packing.place], transitions

    def span_marginals(self, starts: Ints, ends: Ints, tags: Ints, may_follow: Bools) -> Floats:
        """Probability that spans carry just these tags and end where they end.

        starts (Ints): First tokens, counted through all sequences, shape (n_spans,).
        tags (Ints): The tags of the spans' tokens, span after span, shape (sum of the spans' lengths,).
        may_follow (Bools): Which tags after a tag (row) do not continue the span, shape (n_tags, n_tags).
        RETURNS (Floats): Shape (n_spans,).
        """
        if not len(starts):
            return numpy.zeros(0)
        packing, sizes = self.packing, numpy.asarray(ends) - starts
        begins = numpy.cumsum(sizes) - sizes
        place = packing.place[numpy.arange(sizes.sum()) + numpy.repeat(starts - begins, sizes)]
        last, tag = numpy.asarray(ends) - 1, tags[begins + sizes - 1]
        is_inner = packing.position[last] + 1 < packing.lengths[packing.sequence[last]]
        if self._logs is not None:
            after = numpy.full(len(last), -1)
            after[is_inner] = packing.place[last[is_inner] + 1]
            return numpy.clip(self._logs.spans(place, tags, begins, may_follow[tag], after), 0.0, 1.0)
        steps = self._scaled_weights[place, tags]
        steps[1:] *= self._matrix[tags[:-1], tags[1:]]
        steps[begins] = self._alpha[packing.place[starts], tags[begins]]
        closing = self._beta[packing.place[last], tag]
        inner = numpy.flatnonzero(is_inner)
        after = packing.place[last[inner] + 1]
        follows = (self._matrix * may_follow)[tag[inner]] * self._scaled_weights[after] * self._beta[after]
        closing[inner] = follows.sum(axis=1)
        return cast(Floats, numpy.clip(numpy.multiply.reduceat(steps, begins) * closing, 0.0, 1.0))


def viterbi(scores: Floats, lengths: Ints, transitions: Transitions) -> Ints:
    """The best tags (Viterbi 1967). Only maxima are kept on the way; the way back finds where they came from.

    scores (Floats), lengths (Ints), transitions (Transitions): As in `Chain`.
    RETURNS (Ints): Tags of all tokens, shape (n_tokens,). Among equals, the first.
    """
    packing, scores = Packing(lengths), numpy.asarray(scores)
    best = scores[packing.order]
    start, matrix, end = (
        part.astype(scores.dtype) for part in (transitions.start, transitions.matrix, transitions.end)
    )
    before: Floats | None = None
    predecessors = _Predecessors(matrix)
    for a, b in packing.slices:
        if before is None:
            best[a:b] += start
        else:
            best[a:b] += predecessors.best(before[: b - a])
        before = best[a:b]
    tags = numpy.zeros(packing.n_tokens, dtype="int64")
    after = tags[:0]
    for (a, b), (c, _) in zip(reversed(packing.slices), reversed(packing.last_tokens()), strict=True):
        tags[a:c] = (best[a:c] + matrix.T[after]).argmax(axis=1)
        tags[c:b] = (best[c:b] + end).argmax(axis=1)
        after = tags[a:b]
    return cast(Ints, tags[packing.place])


# Tags that so few tags may precede are treated apart: in BIO and BILUO, all but the first tags of entities.
_FEW = 8
_MOST_SUMS = 2**16


class _Predecessors:
    """Finds the best score of each tag over all tags before it. Scores and transitions are added in one small buffer:
    an array of all pairs would be many times as large as the scores, and slower than the sums."""

    def __init__(self, matrix: Floats) -> None:
        by_tag = numpy.ascontiguousarray(matrix.T)
        allowed = ~numpy.isneginf(by_tag)
        counts = allowed.sum(axis=1)
        few = (counts <= _FEW) & (len(matrix) > _FEW)
        self._few, self._many = numpy.flatnonzero(few), numpy.flatnonzero(~few)
        n_before = int(counts[few].max(initial=1))
        self._before = numpy.argsort(~allowed[few], axis=1, kind="stable")[:, :n_before]
        self._of_few = numpy.take_along_axis(by_tag[few], self._before, axis=1)
        self._of_many = by_tag[self._many]
        self._at_once = max(1, _MOST_SUMS // max(1, self._of_many.size))
        self._sums = numpy.empty((self._at_once, *self._of_many.shape), matrix.dtype)

    def best(self, before: Floats) -> Floats:
        """RETURNS (Floats): Shape (n_sequences, n_tags).

        before (Floats): Scores of the tags of the tokens before, of the same shape.
        """
        found = numpy.empty_like(before)
        found[:, self._few] = (before[:, self._before] + self._of_few).max(axis=2)
        for begin in range(0, len(before), self._at_once):
            some = before[begin : begin + self._at_once]
            sums = numpy.add(self._of_many, some[:, None], out=self._sums[: len(some)])
            found[begin : begin + len(some), self._many] = sums.max(axis=2)
        return found


def crf_loss(
    scores: Floats, lengths: Ints, transitions: Transitions, allowed: Bools
) -> tuple[float, Floats, Transitions]:
    """Negative log-likelihood of partly known tags (Tsuboi et al. 2008): log Z of all allowed sequences, minus log
    Z of those that agree with what is known. A token of which nothing is known allows every tag and gives no
    gradient; a sequence whose known tags are not allowed by the transitions is left out.

    scores (Floats), lengths (Ints), transitions (Transitions): As in `Chain`.
    allowed (Bools): Tags that agree with what is known, shape (n_tokens, n_tags).
    RETURNS (Tuple[float, Floats, Transitions]): Summed loss, and its gradients.
    """
    lengths, n_tokens = numpy.asarray(lengths), len(scores)
    masked = numpy.where(allowed, scores, -numpy.inf)
    # Both in one batch: one loop over positions.
    both = Chain(numpy.concatenate([scores, masked]), numpy.concatenate([lengths, lengths]), transitions)
    log_all, log_allowed = both.log_z[: len(lengths)], both.log_z[len(lengths) :]
    # A NaN is not left out: the loss must show it.
    counted = (~numpy.isneginf(log_allowed)).astype("d")
    loss = float((log_all - log_allowed)[counted > 0].sum())
    d_both, d_transitions = both.expected(numpy.concatenate([counted, -counted]))
    return loss, d_both[:n_tokens] + d_both[n_tokens:], d_transitions


def unlikelihood_loss(
    scores: Floats, lengths: Ints, transitions: Transitions, wrong: Bools
) -> tuple[float, Floats, Transitions]:
    """Minus log of the probability that a sequence does *not* agree with tags that are known to be wrong (Welleck et
    al. 2020, for whole stretches of tags).

    scores (Floats), lengths (Ints), transitions (Transitions): As in `Chain`.
    wrong (Bools): Tags of the wrong sequences, shape (n_tokens, n_tags).
    RETURNS (Tuple[float, Floats, Transitions]): Summed loss, and its gradients.
    """
    lengths, n_tokens = numpy.asarray(lengths), len(scores)
    masked = numpy.where(wrong, scores, -numpy.inf)
    both = Chain(numpy.concatenate([scores, masked]), numpy.concatenate([lengths, lengths]), transitions)
    found = numpy.minimum(numpy.exp(both.log_z[len(lengths) :] - both.log_z[: len(lengths)]), 1.0 - 1e-9)
    odds = found / (1.0 - found)
    d_both, d_transitions = both.expected(numpy.concatenate([-odds, odds]))
    return float(-numpy.log1p(-found).sum()), d_both[:n_tokens] + d_both[n_tokens:], d_transitions


def softmax_loss(scores: Floats, allowed: Bools) -> tuple[float, Floats]:
    """Cross-entropy token by token: minus the log of the summed probability of the tags that agree with what is known.

    scores (Floats): Shape (n_tokens, n_tags).
    allowed (Bools): Same shape; at least one tag of each token.
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient.
    """
    weights = numpy.exp(scores - scores.max(axis=1, keepdims=True, initial=-numpy.inf))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    kept = numpy.where(allowed, probabilities, 0.0)
    mass = numpy.maximum(kept.sum(axis=1, keepdims=True), 1e-30)
    return float(-numpy.log(mass).sum()), probabilities - kept / mass


def _spread(below: Floats) -> float:
    """How far numbers lie below 0, -inf left out."""
    return -float(numpy.where(numpy.isneginf(below), 0.0, below).min(initial=0.0))
