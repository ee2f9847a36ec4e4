"""Ridge regression from bags of word pieces to rows of texts, around vectors that exist (Hoerl and Kennard 1970)."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy

from ..types import Floats, Ints

if TYPE_CHECKING:
    from torch import Tensor

HELD_OUT = 20
"""One text of so many is held out to measure, before all are learned from."""
_EXACT = 1e-3
"""The norm of the gradient at which the solution is good enough, relative to that at the beginning."""
_MOST_STEPS = 200


def unit(rows: Floats) -> Floats:
    """RETURNS (Floats2d): Rows of Euclidean length 1; rows of zeros stay."""
    length = numpy.linalg.norm(rows, axis=1, keepdims=True)
    return rows / numpy.where(length > 0, length, 1.0)


def cosine(rows: Floats, others: Floats) -> float:
    """RETURNS (float): The mean cosine of pairs of rows."""
    return float((unit(rows) * unit(others)).sum(axis=1).mean())


def project(rows: Floats, width: int) -> tuple[Floats, Floats]:
    """Rows around their mean, and their principal components.

    rows (Floats2d): Shape (n, any width).
    width (int): How many components, at most all.
    RETURNS (Tuple[Floats2d, Floats2d]): The projected rows, shape (n, width), and the components, shape (any width,
        width).
    """
    centred = rows - rows.mean(axis=0)
    _, vectors = numpy.linalg.eigh(centred.T.astype(numpy.float64) @ centred)
    components = vectors[:, ::-1][:, :width].astype(numpy.float32)
    return centred @ components, components


class Bags:
    """Texts as sums of vectors of pieces: each word of a text counts the same, and each piece of a word.

    texts (Sequence[List[List[int]]]): Numbers of the pieces of each word of each text. A word without any counts in the
        length of its text.
    n_pieces (int): How many pieces there are.
    """

    def __init__(self, texts: Sequence[list[list[int]]], n_pieces: int) -> None:
        of_text, pieces, weights = list[int](), list[int](), list[float]()
        for i, words in enumerate(texts):
            for word in words:
                of_text += [i] * len(word)
                pieces += word
                weights += [1 / len(words) / len(word) for _ in word]
        self.n_texts, self.n_pieces = len(texts), n_pieces
        self.of_text, self.pieces = numpy.array(of_text, dtype=numpy.int64), numpy.array(pieces, dtype=numpy.int64)
        self.weights = numpy.array(weights, dtype=numpy.float32)

    @cached_property
    def shares(self) -> Floats:
        """RETURNS (Floats1d): How often each piece comes, as a share of all pieces, shape (n_pieces,)."""
        counts = numpy.bincount(self.pieces, minlength=self.n_pieces)
        return (counts / max(counts.sum(), 1)).astype(numpy.float32)

    def matrix(self, texts: Ints, used: Ints) -> "Tensor":
        """RETURNS (Tensor): Weights of pieces in texts, sparse, shape (len(texts), len(used)).

        texts (Ints): Numbers of the texts.
        used (Ints): Numbers of the pieces that get a column, in rising order: all of these texts at least.
        """
        import torch

        place = numpy.full(self.n_texts, -1)
        place[texts] = numpy.arange(len(texts))
        mine = place[self.of_text] >= 0
        index = numpy.stack([place[self.of_text[mine]], numpy.searchsorted(used, self.pieces[mine])])
        weights = torch.from_numpy(self.weights[mine])
        size = (len(texts), len(used))
        return torch.sparse_coo_tensor(torch.from_numpy(index), weights, size, check_invariants=True).coalesce()


class Regression:
    """Vectors of pieces whose weighted sums are near to the rows of texts: the minimum of
    sum ||bag V - row||^2 + strength * ||V - V0||^2.

    bags (Bags): The texts.
    first (Floats2d): Where vectors begin, shape (n_pieces, any width). They are projected as the rows were, and scaled
        so that their sums fit best.
    rows (Tuple[Floats2d, Floats2d]): The rows of the texts, and their components: see `project`.
    strength (float): Of the prior, above 0.
    """

    def __init__(self, bags: Bags, first: Floats, rows: tuple[Floats, Floats], strength: float) -> None:
        self._bags, self._strength = bags, strength
        self._rows, components = rows
        self._used = numpy.unique(bags.pieces)
        first = first @ components
        sums = self._sums(numpy.arange(bags.n_texts), first)
        scale = (sums * self._rows).sum() / max(float((sums * sums).sum()), 1e-12)
        self.first = (scale * first).astype(numpy.float32)

    def solve(self, texts: Ints | None = None) -> Floats:
        """Solve by conjugate gradients, for all columns at once. Vectors of pieces that do not come in the texts stay.

        texts (Optional[Ints]): Numbers of the texts to learn from; None for all.
        RETURNS (Floats2d): The vectors, shape (n_pieces, width).
        """
        import torch

        texts = numpy.arange(self._bags.n_texts) if texts is None else texts
        matrix = self._bags.matrix(texts, self._used)
        across = matrix.t().coalesce()
        missing = torch.from_numpy(self._rows[texts] - self._sums(texts, self.first))
        residual = torch.sparse.mm(across, missing)
        change, direction = torch.zeros_like(residual), residual.clone()
        size = residual.square().sum(0)
        enough = _EXACT**2 * float(size.sum())
        for _ in range(_MOST_STEPS):
            if float(size.sum()) <= enough:
                break
            image = torch.sparse.mm(across, torch.sparse.mm(matrix, direction)) + self._strength * direction
            step = size / (direction * image).sum(0).clamp_min(1e-30)
            change += step * direction
            residual -= step * image
            size, before = residual.square().sum(0), size
            direction = residual + (size / before.clamp_min(1e-30)) * direction
        vectors = self.first.copy()
        vectors[self._used] += change.numpy()
        return vectors

    def held_out(self) -> tuple[float, float]:
        """RETURNS (Tuple[float, float]): The mean cosine with the rows of texts that are held out, of the first vectors
        and of those that are solved on the others."""
        every = numpy.arange(self._bags.n_texts)
        held, rest = every[::HELD_OUT], every[every % HELD_OUT > 0]
        wanted = self._rows[held]
        return cosine(self._sums(held, self.first), wanted), cosine(self._sums(held, self.solve(rest)), wanted)

    def _sums(self, texts: Ints, vectors: Floats) -> Floats:
        import torch

        matrix = self._bags.matrix(texts, self._used)
        return torch.sparse.mm(matrix, torch.from_numpy(vectors[self._used].astype(numpy.float32))).numpy()
