"""Rows of tokens and of documents, from any backbone."""

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.types import Floats2d

from ..types import BackboneT, Encoded, hooks_of


def encode(model: BackboneT, docs: list[Doc], is_train: bool) -> tuple[Encoded, Callable[[Encoded], list[Doc]]]:
    """Rows of tokens and docs. A backbone without a summary of its own gives the mean of the token rows.

    model (Model[List[Doc], List[Floats2d]]): The backbone.
    docs (List[Doc]): The batch.
    is_train (bool): Keep what the backward pass needs.
    RETURNS (Tuple[Encoded, Callable]): The rows, and a callback that takes gradients of the same shapes.
    """
    hooks = hooks_of(model)
    if not any(len(doc) for doc in docs) and not (docs and hooks.reads_empty):
        # spaCy's encoders fail on a batch without tokens.
        width = model.get_dim("nO")
        nothing = Encoded([model.ops.alloc2f(0, width) for _ in docs], model.ops.alloc2f(len(docs), width))
        return nothing, lambda grads: docs
    if hooks.encode is not None:
        return hooks.encode(model, docs, is_train)
    rows, backprop_rows = model(docs, is_train)
    documents = model.ops.alloc2f(len(docs), model.get_dim("nO"))
    for i, doc_rows in enumerate(rows):
        if len(doc_rows):
            documents[i] = doc_rows.mean(axis=0)

    def backprop(grads: Encoded) -> list[Doc]:
        return backprop_rows([_with_share(d, grads.documents[i]) for i, d in enumerate(grads.rows)])

    return Encoded(rows, documents), backprop


def _with_share(d_rows: Floats2d, d_document: Any) -> Floats2d:
    return d_rows + d_document / len(d_rows) if len(d_rows) else d_rows
