"""The order in which the tokens of many sequences are computed, and scores of neighbouring tags."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy

from ...types import Floats, Ints


@dataclass
class Transitions:
    """Scores of neighbours; as a mask, which neighbours are allowed (bool).

    start (Floats): Of the first tag, shape (n_tags,).
    matrix (Floats): Of a tag (row) and the one after it (column), shape (n_tags, n_tags).
    end (Floats): Of the last tag, shape (n_tags,).
    """

    start: Floats
    matrix: Floats
    end: Floats

    def map(self, function: Callable[[Floats], Floats]) -> "Transitions":
        """RETURNS (Transitions): A function of each part."""
        return Transitions(function(self.start), function(self.matrix), function(self.end))

    def plus(self, other: "Transitions") -> "Transitions":
        """RETURNS (Transitions): The sum of each part."""
        return Transitions(self.start + other.start, self.matrix + other.matrix, self.end + other.end)

    def where(self, allowed: "Transitions") -> "Transitions":
        """RETURNS (Transitions): In float64, with -inf where a mask has False."""
        pairs = ((self.start, allowed.start), (self.matrix, allowed.matrix), (self.end, allowed.end))
        return Transitions(*(numpy.where(mask, numpy.asarray(score, "d"), -numpy.inf) for score, mask in pairs))


class Packing:
    """The order in which tokens are computed: by position, then by length of the sequence.

    lengths (Ints): Of the sequences, shape (n_sequences,); 0 is allowed.
    """

    def __init__(self, lengths: Ints) -> None:
        self.lengths = numpy.asarray(lengths, dtype="int64")
        self.n_tokens = int(self.lengths.sum())
        self.by_length = numpy.argsort(-self.lengths, kind="stable")
        rank = numpy.empty_like(self.by_length)
        rank[self.by_length] = numpy.arange(len(rank))
        n_positions = int(self.lengths.max(initial=0))
        ends_at = numpy.bincount(self.lengths, minlength=n_positions + 1)
        n_at_position = len(self.lengths) - numpy.cumsum(ends_at)[:n_positions]
        begins = numpy.concatenate([[0], numpy.cumsum(n_at_position)])
        self.slices = [(int(a), int(b)) for a, b in zip(begins[:-1], begins[1:], strict=True)]
        self.first = numpy.cumsum(self.lengths) - self.lengths
        self.sequence = numpy.repeat(numpy.arange(len(self.lengths)), self.lengths)
        self.position = numpy.arange(self.n_tokens) - self.first[self.sequence]
        self.place = begins[self.position] + rank[self.sequence]
        """The packed place of each token."""
        self.order = numpy.empty(self.n_tokens, dtype="int64")
        self.order[self.place] = numpy.arange(self.n_tokens)
        """The token at each packed place."""

    def last_tokens(self) -> list[tuple[int, int]]:
        """RETURNS (List[Tuple[int, int]]): By position, the range of packed tokens that end their sequence."""
        n_longer = [*(b - a for a, b in self.slices[1:]), 0][: len(self.slices)]
        return [(a + n, b) for (a, b), n in zip(self.slices, n_longer, strict=True)]
