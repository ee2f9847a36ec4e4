"""Linear-chain CRFs in log space: exact for all scores. For `crf.Chain`, whose scaled probabilities are faster."""

from collections.abc import Iterator
from typing import cast

import numpy

from ...types import Bools, Floats, Ints
from .packing import Packing, Transitions

_ROOM = 2**16
"""Most numbers in one temporary array of all pairs of tags, so that it fits the processor's cache. One item is
always allowed."""
_TINY = 1e-250
"""A smaller sum of products may have lost terms to underflow."""


def chunks(count: int, size: int) -> Iterator[slice]:
    """YIELDS (slice): Parts of `count` items, of `size` numbers each, that fit a temporary array; one item at least."""
    step = max(1, _ROOM // max(size, 1))
    for begin in range(0, count, step):
        yield slice(begin, min(begin + step, count))


def log_sum(values: Floats, axis: int) -> Floats:
    """RETURNS (Floats): Log of the summed exponentials along an axis; -inf where all are."""
    most = finite_max(values, axis)
    with numpy.errstate(divide="ignore"):
        return cast(Floats, most + numpy.log(numpy.exp(values - numpy.expand_dims(most, axis)).sum(axis=axis)))


def finite_max(values: Floats, axis: int | None = None) -> Floats:
    """RETURNS (Floats): The maxima; 0 where the maximum is not finite, or there are no values."""
    highest = numpy.max(values, axis=axis, initial=-numpy.inf)
    return numpy.where(numpy.isfinite(highest), highest, 0.0)


class LogChain:
    """The sums of a `crf.Chain`, as logs.

    packing (Packing): The order of the tokens.
    scores (Floats): In that order, shape (n_tokens, n_tags).
    """

    def __init__(self, packing: Packing, scores: Floats, transitions: Transitions) -> None:
        self.packing, self.scores = packing, scores
        self.start, self.matrix, self.end = transitions.start, transitions.matrix, transitions.end
        self._run_forward()
        self._run_backward()

    def _run_forward(self) -> None:
        self.alpha = numpy.empty_like(self.scores)
        before: Floats | None = None
        for a, b in self.packing.slices:
            reached = self.start if before is None else _through(before[: b - a], self.matrix)
            self.alpha[a:b] = before = reached + self.scores[a:b]

    def _run_backward(self) -> None:
        """`beta`: of all that follows a token; `ahead`: the same with the token itself. `log_z` by sequence."""
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
    def token_log_z(self) -> Floats:
        """RETURNS (Floats): log Z of the sequence of each packed token; 0 where no sequence is allowed."""
        log_z = self.log_z[self.packing.sequence[self.packing.order]]
        return numpy.where(numpy.isfinite(log_z), log_z, 0.0)

    @property
    def marginals(self) -> Floats:
        """RETURNS (Floats): Probabilities of tags, in the packed order."""
        return numpy.exp(self.alpha + self.beta - self.token_log_z[:, None])

    def pairs(self, before: Ints, later: Ints, shares: Floats) -> Floats:
        """How often one tag is expected after another.

        RETURNS (Floats): Shape (n_tags, n_tags).
        """
        total, log_z = numpy.zeros_like(self.matrix), self.token_log_z[later]
        for part in chunks(len(later), total.size):
            left = self.alpha[before[part]] - log_z[part, None]
            logs = left[:, :, None] + self.matrix + self.ahead[later[part]][:, None, :]
            total += numpy.tensordot(shares[part], numpy.exp(logs), axes=1)
        return total

    def spans(self, places: Ints, tags: Ints, begins: Ints, follows: Bools, after: Ints) -> Floats:
        """Probabilities of stretches of tags, and of what may follow them.

        places (Ints), tags (Ints): Packed places of the tokens of all spans, and their tags.
        follows (Bools): Which tags may come next, shape (n_spans, n_tags).
        after (Ints): Packed places of the tokens after the spans; -1 where the sequence ends.
        RETURNS (Floats): Shape (n_spans,).
        """
        steps = self.scores[places, tags]
        steps[1:] += self.matrix[tags[:-1], tags[1:]]
        steps[begins] = self.alpha[places[begins], tags[begins]]
        last = numpy.append(begins[1:], len(tags)) - 1
        closing = self.beta[places[last], tags[last]]
        inner = numpy.flatnonzero(after >= 0)
        wanted = numpy.where(follows[inner], self.matrix[tags[last[inner]]] + self.ahead[after[inner]], -numpy.inf)
        closing[inner] = log_sum(wanted, 1)
        return cast(Floats, numpy.exp(numpy.add.reduceat(steps, begins) + closing - self.token_log_z[places[begins]]))


def _through(before: Floats, matrix: Floats) -> Floats:
    """Log-sums over the tag before, by one matrix product. Sums that are too small for it are computed again."""
    most, shift = finite_max(before, 1), finite_max(matrix)
    sums = numpy.exp(before - most[:, None]) @ numpy.exp(matrix - shift)
    with numpy.errstate(divide="ignore"):
        logs: Floats = numpy.log(sums) + most[:, None] + shift
    rows, tags = numpy.nonzero(~(sums > _TINY))
    for part in chunks(len(rows), len(matrix)):
        logs[rows[part], tags[part]] = log_sum(before[rows[part]] + matrix[:, tags[part]].T, 1)
    return logs
