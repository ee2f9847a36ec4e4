"""Linear-chain CRFs in log space: exact whatever the scores. For `crf.Chain`, whose scaled probabilities are faster."""

from collections.abc import Iterator
from typing import Any

import numpy

Array = Any
_ROOM = 2**16
"""How many numbers stand in one temporary array of all pairs of tags: it fits the processor's cache. One item
is always allowed."""
_TINY = 1e-250
"""A sum of products of this size may have lost terms that were too small for a float."""


def chunks(count: int, size: int) -> Iterator[slice]:
    """Cut `count` items of `size` numbers each, so that a chunk fits the room for a temporary array.

    count (int): How many items.
    size (int): Numbers of an item.
    YIELDS (slice): Of one item at least.
    """
    step = max(1, _ROOM // max(size, 1))
    for begin in range(0, count, step):
        yield slice(begin, min(begin + step, count))


def log_sum(values: Array, axis: int) -> Array:
    """RETURNS (Array): Log of the summed exponentials along an axis; -inf where all are."""
    most = finite_max(values, axis)
    with numpy.errstate(divide="ignore"):
        return most + numpy.log(numpy.exp(values - numpy.expand_dims(most, axis)).sum(axis=axis))


def finite_max(values: Array, axis: int | None = None) -> Array:
    """RETURNS (Array): The maxima; 0 where that is infinite or there is nothing."""
    highest = numpy.max(values, axis=axis, initial=-numpy.inf)
    return numpy.where(numpy.isfinite(highest), highest, 0.0)


class LogChain:
    """The sums of a `crf.Chain`, as logs.

    packing (Packing): The order of the tokens.
    scores (Array): In that order, shape (n_tokens, n_tags).
    transitions (Transitions): Scores of neighbours.
    """

    def __init__(self, packing: Any, scores: Array, transitions: Any) -> None:
        self.packing, self.scores = packing, scores
        self.start, self.matrix, self.end = transitions.start, transitions.matrix, transitions.end
        self._run_forward()
        self._run_backward()

    def _run_forward(self) -> None:
        self.alpha, before = numpy.empty_like(self.scores), None
        for a, b in self.packing.slices:
            reached = self.start if before is None else _through(before[: b - a], self.matrix)
            self.alpha[a:b] = before = reached + self.scores[a:b]

    def _run_backward(self) -> None:
        """`beta`: of all that comes after a token; `ahead`: the same with the token itself. `log_z` by sequence."""
        packing = self.packing
        self.beta, self.ahead = numpy.empty_like(self.scores), numpy.empty_like(self.scores)
        n = 0
        for a, b in reversed(packing.slices):
            self.beta[a : a + n] = _through(self.ahead[b : b + n], self.matrix.T)
            self.beta[a + n : b] = self.end
            self.ahead[a:b] = self.beta[a:b] + self.scores[a:b]
            n = b - a
        self.log_z = numpy.zeros(len(packing.lengths))
        if packing.slices:
            a, b = packing.slices[0]
            self.log_z[packing.by_length[: b - a]] = log_sum(self.start + self.ahead[a:b], 1)

    @property
    def of_token(self) -> Array:
        """RETURNS (Array): log Z of the sequence of each packed token; 0 where nothing is allowed there."""
        log_z = self.log_z[self.packing.sequence[self.packing.order]]
        return numpy.where(numpy.isfinite(log_z), log_z, 0.0)

    @property
    def marginals(self) -> Array:
        """RETURNS (Array): Probabilities of tags, in the packed order."""
        return numpy.exp(self.alpha + self.beta - self.of_token[:, None])

    def pairs(self, before: Array, later: Array, shares: Array) -> Array:
        """How often one tag is expected after another.

        before (Array), later (Array): Packed places of neighbours.
        shares (Array): Weights of these pairs of tokens.
        RETURNS (Array): Shape (n_tags, n_tags).
        """
        total, log_z = numpy.zeros_like(self.matrix), self.of_token[later]
        for part in chunks(len(later), total.size):
            left = self.alpha[before[part]] - log_z[part, None]
            logs = left[:, :, None] + self.matrix + self.ahead[later[part]][:, None, :]
            total += numpy.tensordot(shares[part], numpy.exp(logs), axes=1)
        return total

    def spans(self, places: Array, tags: Array, begins: Array, follows: Array, after: Array) -> Array:
        """Probabilities of stretches of tags, and of what may follow them.

        places (Array), tags (Array): Packed places of the tokens of all spans, and their tags.
        begins (Array): Where each span begins among these.
        follows (Array): Which tags may come next, bool, shape (n_spans, n_tags).
        after (Array): Packed places of the tokens after the spans; -1 where the sequence ends.
        RETURNS (Array): Shape (n_spans,).
        """
        steps = self.scores[places, tags]
        steps[1:] += self.matrix[tags[:-1], tags[1:]]
        steps[begins] = self.alpha[places[begins], tags[begins]]
        last = numpy.append(begins[1:], len(tags)) - 1
        closing = self.beta[places[last], tags[last]]
        inner = numpy.flatnonzero(after >= 0)
        wanted = numpy.where(follows[inner], self.matrix[tags[last[inner]]] + self.ahead[after[inner]], -numpy.inf)
        closing[inner] = log_sum(wanted, 1)
        return numpy.exp(numpy.add.reduceat(steps, begins) + closing - self.of_token[places[begins]])


def _through(before: Array, matrix: Array) -> Array:
    """Log-sums over the tag before. One matrix product, and what is too small for it once more, exactly."""
    most, shift = finite_max(before, 1), finite_max(matrix)
    sums = numpy.exp(before - most[:, None]) @ numpy.exp(matrix - shift)
    with numpy.errstate(divide="ignore"):
        logs = numpy.log(sums) + most[:, None] + shift
    rows, tags = numpy.nonzero(~(sums > _TINY))
    for part in chunks(len(rows), len(matrix)):
        logs[rows[part], tags[part]] = log_sum(before[rows[part]] + matrix[:, tags[part]].T, 1)
    return logs
