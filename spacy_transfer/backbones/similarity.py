"""`similarity` of docs, spans and tokens by the rows of a backbone: spaCy looks for word vectors, and warns (W007)."""

import math
from typing import Protocol

from spacy.tokens import Doc

from ..types import Floats


class HasVector(Protocol):
    """A doc, span, token or lexeme. Without word vectors its vector is the mean of its rows in `doc.tensor`."""

    vector: Floats


def compare_by_rows(doc: Doc) -> None:
    """Let `similarity` of a doc, its spans and tokens be the cosine of their rows. Where the vocabulary has vectors,
    spaCy compares by these, and hooks of somebody else stay."""
    if doc.vocab.vectors.n_keys == 0:
        for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
            hooks.setdefault("similarity", cosine)


def cosine(one: HasVector, other: HasVector) -> float:
    """RETURNS (float): The cosine of two vectors; 0 where one is all zeros, or they are of other widths."""
    a, b = one.vector, other.vector
    if a.shape != b.shape:
        return 0.0
    norm = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
