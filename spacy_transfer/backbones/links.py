"""Links between listeners and the backbone that they read.

Rows belong to the backbone that made them. `doc.tensor` has place for one encoder only, the last that ran; so each
backbone remembers which rows are its own (`BackboneRows`), and a listener is linked to the backbone that it names.
"""

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet, ref

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.types import Floats1d, Floats2d

from .._compat import send_zeros
from ..errors import Errors
from ..transient import Transient
from ..types import BackboneT, Encoded

Rows = list[Floats2d] | Floats2d
"""The output of a listener: an array for each doc, or a row for each."""
Backprop = Callable[[Rows], list[Doc]]


class Gradients(Protocol):
    """Collects the gradients of heads for a batch, and which heads have read it."""

    def mark_read(self, head: str) -> None: ...

    def add_rows(self, head: str, d_rows: list[Floats2d]) -> list[Doc]: ...

    def add_documents(self, head: str, d_documents: Floats2d) -> list[Doc]: ...


class RowSource(Protocol):
    """The backbone component, as its rows and listeners know it."""

    name: str
    model: BackboneT
    keep_rows: bool

    @property
    def listeners(self) -> list[Tok2VecListener]: ...

    def predict(self, docs: Sequence[Doc]) -> Encoded: ...


@dataclass
class Batch:
    """Rows of the docs that heads learn from next.

    docs (List[Doc]): The docs: only these very objects have these rows.
    gradients (Optional[Gradients]): Takes the heads' gradients; null where the backbone is frozen.
    weights (Mapping[str, float]): By how much heads scale their own loss; 1 for others.
    """

    docs: list[Doc]
    encoded: Encoded
    gradients: Gradients | None
    weights: Mapping[str, float] = field(default_factory=dict)

    def is_of(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether this is the batch of these docs."""
        return len(docs) == len(self.docs) and all(map(operator.is_, docs, self.docs))


class DocRows:
    """Rows of a doc. As long as they are in `doc.tensor` no second reference keeps them alive.

    document (Optional[Floats1d]): The row of the doc, where a listener reads it.
    is_lasting (bool): Keep the rows even when `doc.tensor` is replaced.
    time (int): Grows from batch to batch, over all backbones.
    """

    __slots__ = ("document", "get", "time")

    def __init__(self, rows: Floats2d, document: Floats1d | None, is_lasting: bool, time: int) -> None:
        self.get: Callable[[], Floats2d | None] = (lambda: rows) if is_lasting else ref(rows)
        self.document = document
        self.time = time

    def fits(self, doc: Doc, per_document: bool) -> bool:
        """RETURNS (bool): Whether the rows are there, and match the doc's present tokens."""
        rows = self.get()
        return rows is not None and len(rows) == len(doc) and not (per_document and self.document is None)


_TIME = itertools.count()
_ALL: "WeakSet[BackboneRows]" = WeakSet()


class BackboneRows(Transient):
    """The rows of one backbone: on docs that it annotated, and of the batch that its heads learn from next."""

    built_from = ("pipe",)

    def __init__(self, pipe: RowSource) -> None:
        self._pipe = ref(pipe)
        self._of_doc: WeakKeyDictionary[Doc, DocRows] = WeakKeyDictionary()
        self.batch: Batch | None = None
        _ALL.add(self)

    def __len__(self) -> int:
        """RETURNS (int): Of how many docs that are alive there are rows."""
        return len(self._of_doc)

    @property
    def pipe(self) -> RowSource | None:
        """RETURNS (Optional[Backbone]): The component; None once it is gone."""
        return self._pipe()

    def start_batch(self, batch: Batch | None) -> None:
        """Offer a batch to the heads, in place of the last."""
        self.batch = batch

    def put(self, docs: Sequence[Doc], rows: Sequence[Floats2d], documents: Sequence, is_lasting: bool) -> None:
        """Remember rows; see `DocRows`."""
        time = next(_TIME)
        for doc, of_doc, document in zip(docs, rows, documents, strict=True):
            self._of_doc[doc] = DocRows(of_doc, document, is_lasting, time)

    def get(self, doc: Doc) -> DocRows | None:
        """RETURNS (Optional[DocRows]): The rows of this backbone for a doc; None where it never ran."""
        return self._of_doc.get(doc)

    def read(self, docs: Sequence[Doc], per_document: bool) -> list[DocRows | None]:
        """The rows of this backbone for docs. It computes them again where they are gone, or tokens have changed.

        per_document (bool): Whether the docs' own rows are wanted.
        RETURNS (List[Optional[DocRows]]): None for a doc on which the backbone never ran.
        """
        found = list(map(self._of_doc.get, docs))
        pairs = zip(docs, found, strict=True)
        outdated = [doc for doc, own in pairs if own is not None and not own.fits(doc, per_document)]
        pipe = self.pipe
        if not outdated or pipe is None:
            return found
        encoded = pipe.predict(outdated)
        copies = [rows.copy() for rows in encoded.rows]
        self.put(outdated, copies, [row.copy() for row in encoded.documents], is_lasting=True)
        return list(map(self._of_doc.get, docs))

    def has(self, docs: Sequence[Doc], per_document: bool) -> bool:
        """RETURNS (bool): Whether all rows are here, with nothing to compute."""
        found = map(self._of_doc.get, docs)
        return all(own is not None and own.fits(doc, per_document) for doc, own in zip(docs, found, strict=True))

    def drop_after(self, listener: Tok2VecListener, docs: Sequence[Doc]) -> None:
        """With `keep_rows = false`: let go of the rows once the backbone's last listener has read them."""
        pipe = self.pipe
        if pipe is None or pipe.keep_rows or not pipe.listeners or pipe.listeners[-1] is not listener:
            return
        for doc in docs:
            nothing, own = listener.ops.alloc2f(0, 0), self._of_doc.get(doc)
            if own is not None and own.get() is doc.tensor:
                doc.tensor = nothing  # type: ignore[assignment]
            self.put([doc], [nothing], [None], is_lasting=False)


class Link(Transient):
    """Which backbone a listener reads, and for which head. A copy has both names; the backbone connects it again.

    per_document (bool): Whether it reads one row per document instead of one per token.
    head (Optional[str]): Name of the component that the listener is in.
    backbone (Optional[str]): Name of the backbone; None for a listener that no backbone has found yet.
    """

    built_from = ("per_document", "head", "backbone")

    def __init__(self, per_document: bool, head: str | None = None, backbone: str | None = None) -> None:
        self.per_document = per_document
        self.head = head
        self.backbone = backbone
        self.rows: BackboneRows | None = None
        self.weight = 1.0
        """By how much the head scales its own loss, for the batch that it read last."""
        self._sample: WeakSet[Doc] = WeakSet()

    def connect(self, rows: BackboneRows, head: str) -> None:
        """Read a backbone, for the head of this name."""
        pipe = rows.pipe
        self.head, self.backbone, self.rows = head, None if pipe is None else pipe.name, rows

    def disconnect(self) -> None:
        """Read no backbone any more."""
        self.backbone = self.rows = None

    def name_head(self, head: str) -> None:
        """Let messages name the head before a backbone has found this listener."""
        self.head = head

    def keep_sample(self, docs: Sequence[Doc]) -> None:
        """Docs that no backbone has seen: from them a head infers shapes while it is initialised."""
        self._sample = WeakSet(docs)

    def is_sample(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether a head infers shapes from these docs."""
        return bool(docs) and all(doc in self._sample for doc in docs)

    def read_batch(self, listener: Tok2VecListener, docs: list[Doc]) -> tuple[Rows, Backprop] | None:
        """RETURNS (Optional[Tuple[Rows, Callable]]): Rows of the batch at hand, and the backward pass; None where the
        docs are not those of the batch: their backbone is frozen, or did not run."""
        batch = None if self.rows is None else self.rows.batch
        self.weight = 1.0
        if batch is None or not batch.is_of(docs):
            return None
        head, gradients = str(self.head), batch.gradients
        self.weight = batch.weights.get(head, 1.0)
        for doc, rows in zip(docs, batch.encoded.rows, strict=True):
            if len(doc) != len(rows) and not self.per_document:
                facts = {"text": doc.text[:60], "found": len(rows), "length": len(doc)}
                raise ValueError(Errors.T451.format(head=head, backbone=self.backbone, **facts))
        if gradients is not None:
            gradients.mark_read(head)
        add = None if gradients is None else gradients.add_documents if self.per_document else gradients.add_rows

        def backprop(d_rows: Rows) -> list[Doc]:
            send_zeros(listener)
            return [] if add is None else add(head, d_rows)  # type: ignore[arg-type]

        return (batch.encoded.documents if self.per_document else batch.encoded.rows), backprop

    def read_docs(self, listener: Tok2VecListener, docs: Sequence[Doc]) -> list[DocRows | None]:
        """RETURNS (List[Optional[DocRows]]): What the backbone left on docs. A listener that no backbone has found (its
        head was disabled then) takes it by name."""
        rows = self.rows
        if rows is None:
            doc = next((doc for doc in docs if _backbones_of(doc)), None)
            named = [] if doc is None else _backbones_of(doc)
            rows = next((found for found in named if _serves(found, listener)), None)
        return [None] * len(docs) if rows is None else rows.read(docs, self.per_document)

    def give(self, listener: Tok2VecListener, docs: list[Doc], found: list[DocRows | None], is_train: bool) -> Rows:
        """RETURNS (Rows): The found rows, in the form that the head reads.

        RAISES (ValueError): When there is nothing for a doc.
        """
        for doc, own in zip(docs, found, strict=True):
            if own is None and (len(doc) or self.per_document):
                raise self._missing(listener.upstream_name, doc)
        alloc, width = listener.ops.alloc2f, listener.get_dim("nO")
        rows: Rows
        if self.per_document:
            rows = alloc(len(docs), width)
            for i, own in enumerate(found):
                rows[i] = listener.ops.asarray1f(own.document)  # type: ignore[union-attr, arg-type]
        else:
            pairs = zip(docs, found, strict=True)
            rows = [own.get() if own is not None and len(doc) else alloc(0, width) for doc, own in pairs]  # type: ignore[misc]
        if self.rows is not None and not is_train:
            self.rows.drop_after(listener, docs)
        return rows

    def _missing(self, upstream: str, doc: Doc) -> ValueError:
        head = "A head" if self.head is None else f"components.{self.head}"
        pipes = [rows.pipe for rows in reversed(_backbones_of(doc))]
        names = [f"{pipe.name} (width {pipe.model.maybe_get_dim('nO')})" for pipe in pipes if pipe is not None]
        facts = {
            "head": head,
            "name": self.head or "HEAD",
            "upstream": upstream,
            "text": doc.text[:60],
            "found": names or "no backbone",
        }
        message = Errors.T402 if self.rows is not None and self.rows.pipe is not None else Errors.T452
        return ValueError(message.format(backbone=self.backbone, **facts))


def _backbones_of(doc: Doc) -> list[BackboneRows]:
    """Those that ran on a doc, the last first."""
    found = [(own.time, rows) for rows in list(_ALL) if (own := rows.get(doc)) is not None]
    return [rows for _, rows in sorted(found, key=lambda pair: -pair[0])]


def _serves(rows: BackboneRows, listener: Tok2VecListener) -> bool:
    """Whether a backbone has the name and the width that a listener wants."""
    pipe = rows.pipe
    if pipe is None or listener.upstream_name not in ("*", pipe.name):
        return False
    return pipe.model.maybe_get_dim("nO") == listener.maybe_get_dim("nO")
