"""Where heads read a backbone: rows of tokens, or of whole documents."""

from collections.abc import Callable
from functools import partial
from typing import Any

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..checks import COUNT, require
from ..errors import Errors

DOCUMENT_KEY = "spacy_transfer_document"


class TransferListener(Tok2VecListener):
    """A Tok2VecListener whose width is filled in when the backbone is initialised, and which does not invent
    rows: a backbone that is missing, disabled or out of order is an error.

    upstream_name (str): Name of the backbone component, or "*" for any.
    width (Optional[int]): Width of the backbone's rows; None to take the backbone's.
    """

    name = "transfer-listener"

    def __init__(self, upstream_name: str, width: int | None) -> None:
        Model.__init__(self, self.name, forward=self._forward_function(), init=init_listener, dims={"nO": width})
        self.attrs["rows_per"] = self.rows_per
        self.upstream_name = upstream_name
        self._batch_id: int | None = None
        self._outputs: Any = None
        self._backprop: Any = None
        self.is_linked = False
        # While heads are initialised they infer shapes from docs that no backbone has seen.
        self.infers_shapes = False

    rows_per = "token"

    def _forward_function(self) -> Callable:
        return forward_tokens

    def receive(self, batch_id: int, outputs: Any, backprop: Any) -> None:
        """Take the rows of the coming batch, and where its gradients go."""
        self.infers_shapes = False
        super().receive(batch_id, outputs, backprop)


class DocumentListener(TransferListener):
    """Reads one row per document instead of one per token. Floats2d of shape (n_docs, width)."""

    name = "transfer-document-listener"
    rows_per = "document"

    def _forward_function(self) -> Callable:
        return forward_documents


def build_listener_v1(*, upstream: str = "*", width: int | None = None) -> Model[list[Doc], list[Floats2d]]:
    """Connect a head to a `transfer_backbone` earlier in the pipeline.

    upstream (str): Name of the backbone component; "*" fits any. Give the name where the pipeline has a `tok2vec` too:
        that would take the head for its own, and spaCy would warn that it is frozen.
    width (Optional[int]): Width of its rows. Leave it null: it is filled in at initialisation, so that the
        backbone can be swapped without an edit here.
    RETURNS (Model[List[Doc], List[Floats2d]]): The listener: shape (len(doc), width) for every doc.
    """
    require("tok2vec", COUNT, width=width)
    return TransferListener(upstream, width)


def build_document_listener_v1(*, upstream: str = "*", width: int | None = None) -> Model[list[Doc], Floats2d]:
    """Connect a head to the document rows of a `transfer_backbone`: `[CLS]` or the mean of all states.

    upstream (str): Name of the backbone component; "*" fits any.
    width (Optional[int]): Width of its rows; null to fill it in at initialisation.
    RETURNS (Model[List[Doc], Floats2d]): The listener: shape (n_docs, width).
    """
    require("tok2vec", COUNT, width=width)
    return DocumentListener(upstream, width)


def init_listener(model: TransferListener, X: Any = None, Y: Any = None) -> None:
    """A head is being initialised: its backbone must have been found by now."""
    if not model.is_linked:
        raise ValueError(Errors.T401.format(upstream=model.upstream_name))
    model.infers_shapes = True


def forward_tokens(model: TransferListener, docs: list[Doc], is_train: bool) -> tuple[list[Floats2d], Callable]:
    """Rows of the batch at hand in training, `doc.tensor` otherwise."""
    if is_train and model._batch_id is not None:
        model.verify_inputs(docs)
        return model._outputs, model._backprop
    if model.infers_shapes and not is_train:
        return [model.ops.alloc2f(len(doc), model.get_dim("nO")) for doc in docs], _no_backprop
    rows: list[Any] = []
    for doc in docs:
        if doc.tensor.size == 0 and len(doc):
            raise ValueError(Errors.T402.format(upstream=model.upstream_name))
        rows.append(doc.tensor if len(doc) else model.ops.alloc2f(0, model.get_dim("nO")))
    return rows, _no_backprop


def forward_documents(model: TransferListener, docs: list[Doc], is_train: bool) -> tuple[Floats2d, Callable]:
    """Document rows of the batch at hand in training, those that the backbone left on the docs otherwise."""
    if is_train and model._batch_id is not None:
        model.verify_inputs(docs)
        return model._outputs, model._backprop
    rows: Any = model.ops.alloc2f(len(docs), model.get_dim("nO"))
    if model.infers_shapes and not is_train:
        return rows, _no_backprop
    for i, doc in enumerate(docs):
        row = doc.user_data.get(DOCUMENT_KEY)
        if row is None:
            raise ValueError(Errors.T402.format(upstream=model.upstream_name))
        rows[i] = model.ops.asarray(row)
    return rows, _no_backprop


def drop_rows_after(listener: Tok2VecListener, backbone: Any) -> None:
    """Have the rows of docs dropped when this listener has read them, provided it is its backbone's last.

    Works on stock listeners as well, which know nothing of it: their forward function is wrapped.

    listener (Tok2VecListener): A listener of the backbone.
    backbone (Tok2Vec): The component; its `listeners` are in the order of the pipeline.
    """
    if not isinstance(listener._func, partial):
        listener._func = partial(_read_and_drop, listener._func, backbone)


def _read_and_drop(
    read: Callable, backbone: Any, model: Tok2VecListener, docs: list[Doc], is_train: bool
) -> tuple[Any, Callable]:
    rows = read(model, docs, is_train)
    if not is_train and backbone.listeners and backbone.listeners[-1] is model:
        for doc in docs:
            doc.tensor = model.ops.alloc2f(0, 0)
            doc.user_data.pop(DOCUMENT_KEY, None)
    return rows


def _no_backprop(d_rows: Any) -> list[Doc]:
    return []
