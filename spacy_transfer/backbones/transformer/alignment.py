"""Word pieces -> the tokens they make up. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
from numpy.typing import NDArray
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc


@dataclass(frozen=True)
class Alignment:
    """Which word pieces make up which token, for a batch of docs laid end to end.

    pieces (NDArray[int64]): Pieces, token by token, shape (n_pairs,). A piece that spans two tokens is in both.
    offsets (NDArray[int64]): Where each token's pieces begin in `pieces`, shape (n_tokens,). A token without
        pieces (white space, a control character the tokenizer drops) begins where the next one does.
    """

    pieces: NDArray[numpy.int64]
    offsets: NDArray[numpy.int64]


def token_spans(
    docs: Sequence[Doc],
) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.int64]]:
    """Where tokens begin and end, and where texts do, with the texts laid end to end one character apart.

    RETURNS (Tuple[NDArray[int64], NDArray[int64], NDArray[int64]]): First character and the one past the last
        of every token, shape (n_tokens,); the first character of every doc, shape (n_docs,).
    """
    arrays = [doc.to_array([IDX, LENGTH]).astype(numpy.int64).reshape(-1, 2) for doc in docs]
    # One character apart: so that nothing that ends a text can touch the token that begins the next.
    lengths = [int(spans[-1].sum()) + 2 if len(spans) else 1 for spans in arrays]
    doc_start = numpy.concatenate(([0], numpy.cumsum(lengths)[:-1])).astype(numpy.int64)
    if not len(docs):
        return (numpy.zeros(0, numpy.int64),) * 3
    spans = numpy.concatenate(arrays)
    begin = spans[:, 0] + numpy.repeat(doc_start, [len(spans) for spans in arrays])
    return begin, begin + spans[:, 1], doc_start


def align(
    token_begin: NDArray[numpy.int64],
    token_end: NDArray[numpy.int64],
    piece_begin: NDArray[numpy.int64],
    piece_end: NDArray[numpy.int64],
    pooling: Literal["mean", "first"] = "mean",
) -> Alignment:
    """A piece belongs to every token with which it shares a character.

    token_begin, token_end (NDArray[int64]): Character spans of the tokens, ascending, shape (n_tokens,).
    piece_begin, piece_end (NDArray[int64]): Character spans of the pieces, shape (n_pieces,). An empty span
        belongs to no token.
    pooling (str): "mean" keeps all pieces of a token, "first" the first one.
    RETURNS (Alignment): Pieces of every token.
    """
    n_tokens = len(token_begin)
    first = numpy.searchsorted(token_end, piece_begin, side="right")
    last = numpy.searchsorted(token_begin, piece_end, side="left")
    counts = numpy.where(piece_end > piece_begin, numpy.maximum(last - first, 0), 0)
    pieces = numpy.repeat(numpy.arange(len(piece_begin)), counts)
    tokens = numpy.arange(len(pieces)) + numpy.repeat(first - (numpy.cumsum(counts) - counts), counts)
    # Offsets of tokenizers nearly always ascend, and the sort costs little; where they do not, it is needed.
    order = numpy.argsort(tokens, kind="stable")
    pieces, tokens = pieces[order], tokens[order]
    if pooling == "first" and len(tokens):
        keep = numpy.concatenate(([True], tokens[1:] != tokens[:-1]))
        pieces, tokens = pieces[keep], tokens[keep]
    return Alignment(pieces, numpy.searchsorted(tokens, numpy.arange(n_tokens), side="left"))
