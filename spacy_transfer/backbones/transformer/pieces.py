"""Docs -> word pieces in windows, aligned with tokens, for encoders in torch and in other engines. NumPy only."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc

from .alignment import Alignment, align, token_spans
from .windows import Windows, cut_windows

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True)
class Pieces:
    """A batch of docs as word pieces, cut into windows and aligned with tokens.

    ids (NDArray[int64]): Ids of the pieces of all docs, without special tokens, shape (n_pieces,).
    """

    ids: NDArray[numpy.int64]
    windows: Windows
    alignment: Alignment
    n_docs: int

    def joined(
        self, prefix: list[int], suffix: list[int]
    ) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.int64]]:
        """RETURNS (Tuple[NDArray[int64], NDArray[int64], NDArray[int64]]): Ids of all windows in one array, with
        special tokens; where windows begin; their lengths."""
        windows, n_prefix, n_suffix = self.windows, len(prefix), len(suffix)
        sizes = windows.length + n_prefix + n_suffix
        begins = numpy.cumsum(sizes) - sizes
        ids = numpy.empty(int(sizes.sum()), dtype=numpy.int64)
        ids[ranges(begins + n_prefix, windows.length)] = self.ids[ranges(windows.start, windows.length)]
        for i, piece in enumerate(prefix):
            ids[begins + i] = piece
        for i, piece in enumerate(suffix):
            ids[begins + sizes - n_suffix + i] = piece
        return ids, begins, sizes

    def states(self, state_at: NDArray[numpy.int64], n_prefix: int) -> NDArray[numpy.int64]:
        """For every piece its state in the window that owns it.

        state_at (NDArray[int64]): Where the states of each window begin.
        RETURNS (NDArray[int64]): Indices of states, shape (n_pieces,).
        """
        owner = self.windows.owner
        if not len(owner):
            return owner
        return state_at[owner] + n_prefix + numpy.arange(len(owner)) - self.windows.start[owner]


def encode_texts(tokenizer: "Tokenizer", docs: Sequence[Doc]) -> "list[Encoding]":
    """RETURNS (List[Encoding]): What the tokenizer makes of each text, without special tokens around it."""
    return tokenizer.encode_batch([doc.text for doc in docs], add_special_tokens=False)


def cut_pieces(
    docs: Sequence[Doc],
    encodings: "Sequence[Encoding]",
    budget: int,
    overlap: int,
    pooling: Literal["mean", "first"],
    *,
    read_empty: bool,
) -> Pieces:
    """Cut texts into windows, and align their pieces with tokens.

    budget (int): The most pieces of a window, without special tokens.
    read_empty (bool): Give texts without pieces a window of special tokens.
    """
    counts = numpy.array([len(encoding) for encoding in encodings], dtype=numpy.int64)
    ids = _flat([encoding.ids for encoding in encodings], 1)[:, 0]
    spans = _flat([itertools.chain.from_iterable(encoding.offsets) for encoding in encodings], 2)
    begin, end, doc_start = token_spans(docs)
    shift = numpy.repeat(doc_start, counts)
    alignment = align(begin, end, spans[:, 0] + shift, spans[:, 1] + shift, pooling)
    return Pieces(ids, cut_windows(counts, budget, overlap, read_empty=read_empty), alignment, len(docs))


def _flat(runs: Iterable[Iterable[int]], width: int) -> NDArray[numpy.int64]:
    """Numbers of all docs as one array of shape (n, width)."""
    return numpy.fromiter(itertools.chain.from_iterable(runs), dtype=numpy.int64).reshape(-1, width)


def ranges(begins: NDArray, lengths: NDArray) -> NDArray[numpy.int64]:
    """begin, begin + 1, ... for every begin, `length` numbers each, in one array."""
    total = int(lengths.sum())
    return numpy.arange(total) + numpy.repeat(begins - (numpy.cumsum(lengths) - lengths), lengths)
