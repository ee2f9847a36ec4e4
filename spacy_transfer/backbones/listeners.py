"""Listeners: the places in heads where rows of a backbone are read, rows of tokens or of whole documents."""

from collections.abc import Callable, Iterator, Sequence

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..attributes import RowsAttrs
from ..checks import COUNT, require
from ..errors import Errors
from .links import BackboneRows, Backprop, Link, Rows


class TransferListener(Tok2VecListener):
    """A Tok2VecListener whose width is filled in when the backbone is initialised, and which does not invent
    rows: a backbone that is missing, disabled or out of order is an error.

    upstream_name (str): Name of the backbone component, or "*" for any.
    width (Optional[int]): Width of the backbone's rows; None to take the backbone's.
    """

    name = "transfer-listener"
    per_document = False

    def __init__(self, upstream_name: str, width: int | None) -> None:
        Model.__init__(self, self.name, forward=forward, init=init_listener, dims={"nO": width})
        self.upstream_name = upstream_name
        self._batch_id = self._outputs = self._backprop = None  # What spaCy's own tok2vec sets.
        self.link = Link(self.per_document)
        # Heads do not know listeners, and read this.
        RowsAttrs.of(self).rows_per = "document" if self.per_document else "token"


class DocumentListener(TransferListener):
    """Reads one row per document instead of one per token. Floats2d of shape (n_docs, width)."""

    name = "transfer-document-listener"
    per_document = True


class StockReader:
    """The forward function of a listener of spaCy's that listens to one of our backbones. On docs that the backbone has
    not seen it does what spaCy does: zeros, by which heads infer shapes.
    """

    def __init__(self, forward: Callable[..., tuple[Rows, Backprop]]) -> None:
        self.forward = forward
        self.link = Link(per_document=False)

    def __call__(self, model: Tok2VecListener, docs: list[Doc], is_train: bool) -> tuple[Rows, Backprop]:
        """RETURNS (Tuple[List[Floats2d], Callable]): Rows, and the backward pass."""
        if is_train and (batch := self.link.read_batch(model, docs)) is not None:
            return batch
        found = self.link.read_docs(model, docs)
        if not is_train and None in found:
            return self.forward(model, docs, is_train)
        return self.link.give(model, docs, found, is_train), _no_backprop


def build_listener_v1(*, upstream: str = "*", width: int | None = None) -> Model[list[Doc], list[Floats2d]]:
    """Connect a head to a `transfer_backbone` earlier in the pipeline.

    upstream (str): Name of the backbone component; "*" for the nearest one. Give the name where the pipeline has a
        `tok2vec` too: that would take the head for its own, and spaCy would warn that it is frozen.
    width (Optional[int]): Width of its rows. Leave it null: it is filled in at initialisation, so that the
        backbone can be swapped without an edit here.
    RETURNS (Model[List[Doc], List[Floats2d]]): The listener: shape (len(doc), width) for every doc.
    """
    require("tok2vec", COUNT, width=width)
    return TransferListener(upstream, width)


def build_document_listener_v1(*, upstream: str = "*", width: int | None = None) -> Model[list[Doc], Floats2d]:
    """Connect a head to the document rows of a `transfer_backbone`: `[CLS]` or the mean of all states.

    upstream (str): Name of the backbone component; "*" for the nearest one.
    width (Optional[int]): Width of its rows; null to fill it in at initialisation.
    RETURNS (Model[List[Doc], Floats2d]): The listener: shape (n_docs, width).
    """
    require("tok2vec", COUNT, width=width)
    return DocumentListener(upstream, width)


def init_listener(model: TransferListener, X: Sequence[Doc] | None = None, Y: object = None) -> None:
    """A head is being initialised: its backbone must have been found by now."""
    if model.link.backbone is None:
        raise ValueError(Errors.T401.format(upstream=model.upstream_name))
    model.link.keep_sample(X or ())


def forward(model: TransferListener, docs: list[Doc], is_train: bool) -> tuple[Rows, Backprop]:
    """Rows of the batch at hand in training, those that the backbone left on the docs otherwise."""
    link = model.link
    if is_train and (batch := link.read_batch(model, docs)) is not None:
        return batch
    found = link.read_docs(model, docs)
    if not is_train and not any(found) and link.is_sample(docs):
        width, alloc = model.get_dim("nO"), model.ops.alloc2f
        zeros: Rows = alloc(len(docs), width) if link.per_document else [alloc(len(doc), width) for doc in docs]
        return zeros, _no_backprop
    return link.give(model, docs, found, is_train), _no_backprop


def _no_backprop(d_rows: Rows) -> list[Doc]:
    return []


def link_of(node: Model) -> Link | None:
    """RETURNS (Optional[Link]): Of a listener to one of our backbones; None for any other node."""
    if isinstance(node, TransferListener):
        return node.link
    return node._func.link if isinstance(node._func, StockReader) else None


def links_of(model: object) -> Iterator[Link]:
    """YIELDS (Link): Those of a head's model."""
    for node in model.walk() if isinstance(model, Model) else ():
        if (link := link_of(node)) is not None:
            yield link


def name_head(model: Model, head: str) -> None:
    """Let the listeners of a head know its name before a backbone has found them, for messages."""
    for link in links_of(model):
        link.name_head(head)


def connect(listener: Tok2VecListener, rows: BackboneRows, head: str) -> None:
    """Let a listener read a backbone.

    head (str): Name of the component that the listener is in.
    """
    link = link_of(listener)
    if link is None:
        reader = StockReader(listener._func)
        listener._func, link = reader, reader.link
    link.connect(rows, head)


def disconnect(model: object, rows: BackboneRows) -> None:
    """Let the listeners of a head no longer read a backbone.

    model (Model): The head's; anything else has no listeners.
    """
    for node in model.walk() if isinstance(model, Model) else ():
        link = link_of(node)
        if link is not None and link.rows is rows:
            link.disconnect()
            if isinstance(node._func, StockReader):
                node._func = node._func.forward


def has_rows(model: Model, docs: Sequence[Doc]) -> bool:
    """RETURNS (bool): Whether a head can score docs again without a pass of its backbone."""
    for link in links_of(model):
        if link.rows is not None:
            return link.rows.has(docs, link.per_document)
    return all(len(doc.tensor) == len(doc) for doc in docs)
