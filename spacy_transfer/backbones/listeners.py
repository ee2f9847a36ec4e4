"""Where heads read a backbone: rows of tokens, or of whole documents.

Rows belong to the backbone that made them. `doc.tensor` has place for one encoder only, the last that ran; so each
backbone remembers which rows are its own (`BackboneRows`), and a listener is linked to the backbone that it names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet, ref

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .._compat import send_zeros
from ..checks import COUNT, require
from ..errors import Errors
from ..types import Encoded


class Gradients(Protocol):
    """Takes what heads send back for a batch, and hears who has read it."""

    def note_read(self, head: str) -> None: ...

    def add_rows(self, head: str, d_rows: list[Floats2d]) -> list[Doc]: ...

    def add_documents(self, head: str, d_documents: Floats2d) -> list[Doc]: ...


@dataclass
class Batch:
    """What a backbone made of the docs that its heads learn from next.

    docs (List[Doc]): The docs: only these very objects have these rows.
    encoded (Encoded): Their rows.
    gradients (Optional[Gradients]): Takes the heads' gradients; null where nothing moves.
    weights (Mapping[str, float]): By how much heads scale their own loss; 1 for others.
    """

    docs: list[Doc]
    encoded: Encoded
    gradients: Gradients | None
    weights: Mapping[str, float] = field(default_factory=dict)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def is_of(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether this is the batch of these docs."""
        return len(docs) == len(self.docs) and all(a is b for a, b in zip(docs, self.docs, strict=True))


class Kept:
    """Rows of a doc. As long as they are in `doc.tensor` no second reference keeps them alive.

    rows (Floats2d): Rows of tokens.
    document (Optional[Floats1d]): The row of the doc, where somebody reads it.
    is_lasting (bool): Keep the rows whatever becomes of `doc.tensor`.
    """

    __slots__ = ("_rows", "document")

    def __init__(self, rows: Any, document: Any, is_lasting: bool) -> None:
        self._rows: Callable[[], Any] = (lambda: rows) if is_lasting else ref(rows)
        self.document = document

    @property
    def rows(self) -> Any:
        """RETURNS (Optional[Floats2d]): The rows; None once they are gone."""
        return self._rows()

    def fits(self, doc: Doc, per_document: bool) -> bool:
        """RETURNS (bool): Whether what is asked for is here, and of the tokens that the doc has now."""
        rows = self.rows
        return rows is not None and len(rows) == len(doc) and not (per_document and self.document is None)


_KEPT: "WeakKeyDictionary[Doc, dict[BackboneRows, Kept]]" = WeakKeyDictionary()
"""Of each doc that is alive what backbones have left, the last to run at the end."""


class BackboneRows:
    """The rows of one backbone: on docs that it annotated, and of the batch that its heads learn from next. None of it
    is copied or pickled with the backbone or with heads.

    pipe (Backbone): The component.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = ref(pipe)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    @property
    def name(self) -> str | None:
        """RETURNS (Optional[str]): Name of the backbone; None if it is no more."""
        return getattr(self._pipe(), "name", None)

    @property
    def width(self) -> int | None:
        """RETURNS (Optional[int]): Of its rows, if it is known."""
        pipe = self._pipe()
        return None if pipe is None else pipe.model.maybe_get_dim("nO")

    @property
    def batch(self) -> Batch | None:
        """RETURNS (Optional[Batch]): That from which heads learn next."""
        return getattr(self._pipe(), "batch", None)

    def put(self, doc: Doc, rows: Any, document: Any, is_lasting: bool) -> None:
        """Remember rows; see `Kept`."""
        kept = _KEPT.setdefault(doc, {})
        kept.pop(self, None)
        kept[self] = Kept(rows, document, is_lasting)

    def read(self, docs: Sequence[Doc], per_document: bool) -> list[Kept | None]:
        """What this backbone left on docs. Where its rows are gone, or tokens were merged or split since, it computes
        them again.

        docs (Sequence[Doc]): The docs.
        per_document (bool): Whether the docs' own rows are wanted.
        RETURNS (List[Optional[Kept]]): None for a doc on which the backbone never ran.
        """
        found = [_KEPT.get(doc, {}).get(self) for doc in docs]
        pairs = zip(docs, found, strict=True)
        again = [doc for doc, kept in pairs if kept is not None and not kept.fits(doc, per_document)]
        pipe = self._pipe()
        if not again or pipe is None:
            return found
        encoded = pipe.predict(again)
        for doc, rows, document in zip(again, encoded.rows, encoded.documents, strict=True):
            self.put(doc, rows.copy(), document.copy(), is_lasting=True)
        return [_KEPT.get(doc, {}).get(self) for doc in docs]

    def has(self, docs: Sequence[Doc], per_document: bool) -> bool:
        """RETURNS (bool): Whether all rows are here, with nothing to compute."""
        found = (_KEPT.get(doc, {}).get(self) for doc in docs)
        return all(kept is not None and kept.fits(doc, per_document) for doc, kept in zip(docs, found, strict=True))

    def drop_after(self, listener: Tok2VecListener, docs: Sequence[Doc]) -> None:
        """With `keep_rows = false`: let go of the rows once the backbone's last listener has read them."""
        pipe = self._pipe()
        if pipe is None or pipe.keep_rows or not pipe.listeners or pipe.listeners[-1] is not listener:
            return
        for doc in docs:
            nothing: Any = listener.ops.alloc2f(0, 0)
            kept = _KEPT.get(doc, {}).get(self)
            if kept is not None and kept.rows is doc.tensor:
                doc.tensor = nothing
            self.put(doc, nothing, None, is_lasting=False)


@dataclass
class Link:
    """Which backbone a listener reads, and for which head. A copy still knows both names; the backbone links it anew.

    head (Optional[str]): Name of the component that the listener is in.
    backbone (Optional[str]): Name of the backbone; None for a listener that no backbone has found yet.
    rows (Optional[BackboneRows]): Of the backbone.
    weight (float): By how much the head scales its own loss, for the batch that it read last.
    sample (WeakSet[Doc]): Docs that no backbone has seen: from them a head infers shapes while it is initialised.
    """

    head: str | None = None
    backbone: str | None = None
    rows: BackboneRows | None = None
    weight: float = 1.0
    sample: "WeakSet[Doc]" = field(default_factory=WeakSet)

    def __reduce__(self) -> tuple[type["Link"], tuple[str | None, str | None]]:
        return Link, (self.head, self.backbone)

    def learn(self, listener: Tok2VecListener, docs: list[Doc], per_document: bool) -> tuple[Any, Callable] | None:
        """RETURNS (Optional[Tuple[Any, Callable]]): Rows of the batch at hand, and the way back; None where the docs
        are not those of the batch: their backbone is frozen, or did not run."""
        batch = None if self.rows is None else self.rows.batch
        self.weight = 1.0
        if batch is None or not batch.is_of(docs):
            return None
        head, gradients = str(self.head), batch.gradients
        self.weight = batch.weights.get(head, 1.0)
        for doc, rows in zip(docs, batch.encoded.rows, strict=True):
            if len(doc) != len(rows) and not per_document:
                facts = {"text": doc.text[:60], "found": len(rows), "length": len(doc)}
                raise ValueError(Errors.T451.format(head=head, backbone=self.backbone, **facts))
        if gradients is not None:
            gradients.note_read(head)

        def backprop(d_rows: Any) -> list[Doc]:
            send_zeros(listener)
            if gradients is None:
                return []
            return gradients.add_documents(head, d_rows) if per_document else gradients.add_rows(head, d_rows)

        return (batch.encoded.documents if per_document else batch.encoded.rows), backprop

    def find(self, listener: Tok2VecListener, docs: Sequence[Doc], per_document: bool) -> list[Kept | None]:
        """RETURNS (List[Optional[Kept]]): What the backbone left on docs. A listener that no backbone has found (its
        head was disabled then) takes it by name."""
        rows = self.rows
        if rows is None:
            on_doc = next((_KEPT[doc] for doc in docs if doc in _KEPT), {})
            named = (found for found in reversed(on_doc) if listener.upstream_name in ("*", found.name))
            rows = next((found for found in named if found.width == listener.maybe_get_dim("nO")), None)
        return [None] * len(docs) if rows is None else rows.read(docs, per_document)

    def missing(self, upstream: str, doc: Doc) -> ValueError:
        """RETURNS (ValueError): What to say of a doc without rows."""
        head = "A head" if self.head is None else f"components.{self.head}"
        names = [f"{rows.name} (width {rows.width})" for rows in _KEPT.get(doc, {})]
        facts = {"head": head, "upstream": upstream, "text": doc.text[:60], "found": names or "no backbone"}
        message = Errors.T402 if self.rows is not None and self.rows.name is not None else Errors.T452
        return ValueError(message.format(backbone=self.backbone, **facts))


class TransferListener(Tok2VecListener):
    """A Tok2VecListener whose width is filled in when the backbone is initialised, and which does not invent
    rows: a backbone that is missing, disabled or out of order is an error.

    upstream_name (str): Name of the backbone component, or "*" for any.
    width (Optional[int]): Width of the backbone's rows; None to take the backbone's.
    """

    name = "transfer-listener"
    rows_per = "token"

    def __init__(self, upstream_name: str, width: int | None) -> None:
        Model.__init__(self, self.name, forward=forward, init=init_listener, dims={"nO": width})
        self.attrs["rows_per"] = self.rows_per
        self.upstream_name = upstream_name
        self._batch_id: int | None = None
        self._outputs: Any = None
        self._backprop: Any = None
        self.link = Link()


class DocumentListener(TransferListener):
    """Reads one row per document instead of one per token. Floats2d of shape (n_docs, width)."""

    name = "transfer-document-listener"
    rows_per = "document"


class StockReader:
    """The forward function of a listener of spaCy's that listens to one of our backbones. On docs that the backbone has
    not seen it does what spaCy does: zeros, by which heads infer shapes.

    forward (Callable): spaCy's.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward
        self.link = Link()

    def __call__(self, model: Tok2VecListener, docs: list[Doc], is_train: bool) -> tuple[Any, Callable]:
        """RETURNS (Tuple[List[Floats2d], Callable]): Rows, and the way back."""
        if is_train and (learned := self.link.learn(model, docs, False)) is not None:
            return learned
        found = self.link.find(model, docs, False)
        if not is_train and any(kept is None for kept in found):
            return self.forward(model, docs, is_train)
        return _rows_of(model, self.link, docs, found, False, is_train), _no_backprop


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


def init_listener(model: TransferListener, X: Any = None, Y: Any = None) -> None:
    """A head is being initialised: its backbone must have been found by now."""
    if model.link.backbone is None:
        raise ValueError(Errors.T401.format(upstream=model.upstream_name))
    model.link.sample = WeakSet(X or ())


def forward(model: TransferListener, docs: list[Doc], is_train: bool) -> tuple[Any, Callable]:
    """Rows of the batch at hand in training, those that the backbone left on the docs otherwise."""
    per_document = model.rows_per == "document"
    if is_train and (learned := model.link.learn(model, docs, per_document)) is not None:
        return learned
    found = model.link.find(model, docs, per_document)
    if not is_train and docs and all(doc in model.link.sample for doc in docs) and not any(found):
        width = model.get_dim("nO")
        if per_document:
            return model.ops.alloc2f(len(docs), width), _no_backprop
        return [model.ops.alloc2f(len(doc), width) for doc in docs], _no_backprop
    return _rows_of(model, model.link, docs, found, per_document, is_train), _no_backprop


def _rows_of(
    model: Tok2VecListener, link: Link, docs: list[Doc], found: list[Kept | None], per_document: bool, is_train: bool
) -> Any:
    """What was found as a head takes it."""
    for doc, kept in zip(docs, found, strict=True):
        if kept is None and (len(doc) or per_document):
            raise link.missing(model.upstream_name, doc)
    width = model.get_dim("nO")
    pairs = zip(docs, found, strict=True)
    rows: Any = [kept.rows if kept is not None and len(doc) else model.ops.alloc2f(0, width) for doc, kept in pairs]
    if per_document:
        rows = model.ops.alloc2f(len(docs), width)
        for i, kept in enumerate(found):
            rows[i] = model.ops.asarray(kept.document)  # type: ignore[union-attr]
    if link.rows is not None and not is_train:
        link.rows.drop_after(model, docs)
    return rows


def _no_backprop(d_rows: Any) -> list[Doc]:
    return []


# Links


def link_of(node: Model) -> Link | None:
    """RETURNS (Optional[Link]): Of a listener to one of our backbones; None for any other node."""
    if isinstance(node, TransferListener):
        return node.link
    return node._func.link if isinstance(node._func, StockReader) else None


def links_of(model: Any) -> Iterator[Link]:
    """YIELDS (Link): Those of a head's model.

    model (Model): The model; anything else has none.
    """
    for node in model.walk() if isinstance(model, Model) else ():
        if (link := link_of(node)) is not None:
            yield link


def name_head(model: Model, head: str) -> None:
    """Let the listeners of a head know its name before a backbone has found them, for messages.

    model (Model): The head's.
    head (str): Name of the component.
    """
    for link in links_of(model):
        link.head = head


def connect(listener: Tok2VecListener, rows: BackboneRows, head: str) -> None:
    """Let a listener read a backbone.

    listener (Tok2VecListener): Ours, or spaCy's.
    rows (BackboneRows): Of the backbone.
    head (str): Name of the component that the listener is in.
    """
    if link_of(listener) is None:
        listener._func = StockReader(listener._func)
    link = link_of(listener)
    assert link is not None
    link.head, link.backbone, link.rows = head, rows.name, rows


def disconnect(model: Any, rows: BackboneRows) -> None:
    """Let the listeners of a head no longer read a backbone.

    model (Model): The head's.
    rows (BackboneRows): Of the backbone.
    """
    for node in model.walk() if isinstance(model, Model) else ():
        link = link_of(node)
        if link is not None and link.rows is rows:
            link.backbone = link.rows = None
            if isinstance(node._func, StockReader):
                node._func = node._func.forward


def has_rows(model: Model, docs: Sequence[Doc]) -> bool:
    """RETURNS (bool): Whether a head can score docs anew without a pass of its backbone.

    model (Model): The head's.
    docs (Sequence[Doc]): Docs with tokens.
    """
    for node in model.walk():
        link = link_of(node)
        if link is not None and link.rows is not None:
            return link.rows.has(docs, getattr(node, "rows_per", "token") == "document")
    return all(len(doc.tensor) == len(doc) for doc in docs)
