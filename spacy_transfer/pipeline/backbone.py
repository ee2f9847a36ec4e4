"""`transfer_backbone`: one pretrained encoder, shared by all heads that listen to it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.ty import ListenedToComponent
from spacy.vocab import Vocab
from thinc.api import Config, Model, set_dropout_rate
from thinc.types import Floats2d

from ..backbones.listeners import (
    BackboneRows,
    Batch,
    DocumentListener,
    TransferListener,
    connect,
    disconnect,
    link_of,
)
from ..backbones.outputs import encode
from ..backbones.own import replace_listener, replace_listener_config
from ..backbones.row_cache import CacheSettings, RowCache, doc_key, weights_mark
from ..backbones.tunable import tunable_shims
from ..backbones.tuned import TuningShim
from ..checks import COUNT_OR_NONE, require
from ..errors import Errors
from ..tuning.weighing import TaskWeights
from ..types import Encoded, hooks_of
from .gradients import PendingGradients
from .saving import CheckedFiles
from .steps import Steps
from .tasks import Surgery, Tasks, check_moves
from .watch import Watch

DEFAULT_CONFIG = """
[model]
@architectures = "spacy-transfer.TransformerBackbone.v1"
source = "sentence-transformers/all-MiniLM-L6-v2"
window = 128
overlap = 16
max_batch_items = 1024
pooling = "mean"
layers = "last"
precision = "fp32"
document = "mean"
special_tokens = false
tuning = null
"""


@Language.factory(
    "transfer_backbone",
    assigns=["doc.tensor"],
    default_config={
        "model": Config().from_str(DEFAULT_CONFIG)["model"],
        "frozen": False,
        "cache_mb": 512,
        "cache_disk_mb": 0,
        "cache_dtype": "float32",
        "keep_rows": True,
        "weighing": None,
        "surgery": None,
    },
)
def make_backbone(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    frozen: bool,
    cache_mb: int,
    cache_disk_mb: int,
    cache_dtype: Literal["float32", "float16"],
    keep_rows: bool,
    weighing: TaskWeights | None,
    surgery: Literal["pcgrad"] | None,
) -> "Backbone":
    """Construct a backbone component.

    model (Model[List[Doc], List[Floats2d]]): One of our backbones, or any tok2vec.
    frozen (bool): Leave the weights as they are, and compute each text once a training.
    cache_mb (int): The most megabytes that are kept in memory between the epochs of a training: rows of a frozen
        backbone, or states at the boundary where its lower layers are frozen.
    cache_disk_mb (int): The most megabytes of them in a temporary file, once memory is full.
    cache_dtype (str): Keep them as "float32", or as "float16" in half the room.
    keep_rows (bool): Leave the rows in `doc.tensor` after the last listener has read them.
    weighing (Optional[TaskWeights]): How much each component that listens counts: a block
        `spacy-transfer.TaskWeights.v1`; null for all alike.
    surgery (Optional[str]): "pcgrad" takes away what the gradients of tasks have against each other (Yu et al. 2020),
        at the price of a backward pass for each task; null adds them up.
    RETURNS (Backbone): The component.
    """
    require(f"components.{name}", COUNT_OR_NONE, cache_mb=cache_mb, cache_disk_mb=cache_disk_mb)
    cache = CacheSettings(cache_mb, cache_disk_mb, cache_dtype)
    tasks: dict[str, Any] = {"weighing": weighing, "surgery": surgery}
    return Backbone(nlp.vocab, model, name, frozen=frozen, cache=cache, keep_rows=keep_rows, **tasks)


class Backbone(CheckedFiles, Tok2Vec):
    """Computes rows once for all heads, and gathers the gradients of all heads for one backward pass, or with surgery
    for one pass each.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): The backbone.
    name (str): The component's name.
    cache (CacheSettings): What is kept between epochs.
    frozen (bool), keep_rows (bool), weighing (Optional[TaskWeights]), surgery (Optional[str]): See `make_backbone`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "transfer_backbone",
        *,
        frozen: bool = False,
        cache: CacheSettings | None = None,
        keep_rows: bool = True,
        weighing: TaskWeights | None = None,
        surgery: Surgery | None = None,
    ) -> None:
        check_moves(name, model, frozen, (("weighing", weighing), ("surgery", surgery)))
        super().__init__(vocab, model, name)
        self.frozen = frozen
        self.cache = cache or CacheSettings(512)
        self.keep_rows = keep_rows
        self.batch: Batch | None = None
        self._rows: BackboneRows | None = None
        self._cache: RowCache | None = None
        self._mark = 0
        self.steps = Steps(self)
        self.tasks = Tasks(name, weighing, surgery)
        self.watch = Watch()
        for shim in tunable_shims(model):
            shim.serve(name, self.cache)
        # Looked up by nlp.replace_listeners.
        self.model.attrs["replace_listener"] = replace_listener
        self.model.attrs["replace_listener_cfg"] = partial(replace_listener_config, frozen=frozen)

    # Listeners

    @property
    def rows(self) -> BackboneRows:
        """RETURNS (BackboneRows): What this backbone has left on docs."""
        if self._rows is None:
            self._rows = BackboneRows(self)
        return self._rows

    def find_listeners(self, component: Any) -> None:
        """Connect what listens in a later component, and remember the component: see `finish_update`.

        component (Pipe): The component.
        """
        self.watch.see(self.listener_map, component)
        self.tasks.see(component)
        disconnect(getattr(component, "model", None), self.rows)
        super().find_listeners(component)

    def add_listener(self, listener: Tok2VecListener, component_name: str) -> None:
        """Connect a listener of a later component. One without a width takes this backbone's, if it is known."""
        super().add_listener(listener, component_name)
        is_stock = not isinstance(listener, TransferListener)
        if is_stock and listener.upstream_name == "*" and self._has_later_encoder:
            return  # It takes the nearest encoder of any kind.
        connect(listener, self.rows, component_name)
        if self.model.has_dim("nO"):
            self._agree_on_width(listener, component_name)

    @property
    def _has_later_encoder(self) -> bool:
        later = self.watch.later(self.listener_map)
        return any(isinstance(component, Tok2Vec) for component in later.values())

    def _connect_copies(self) -> None:
        """What was copied or pickled with its heads is linked by names; see `Link`."""
        for head, listeners in self.listener_map.items():
            for listener in listeners:
                link = link_of(listener)
                if link is not None and link.rows is None and link.backbone == self.name:
                    connect(listener, self.rows, head)

    def _agree_on_width(self, listener: Tok2VecListener, component_name: str) -> None:
        link = link_of(listener)
        if link is None or link.rows is not self.rows:
            return
        width = self.model.get_dim("nO")
        if not listener.has_dim("nO"):
            listener.set_dim("nO", width)
        elif listener.get_dim("nO") != width:
            raise ValueError(
                Errors.T403.format(head=component_name, found=listener.get_dim("nO"), width=width, backbone=self.name)
            )

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> Encoded:
        """Rows of a batch, without touching the docs.

        docs (Iterable[Doc]): The docs.
        RETURNS (Encoded): Rows of tokens and of documents.
        """
        docs = list(docs)
        self.steps.settle()
        self._require_weights()
        self._connect_copies()
        return encode(self.model, docs, False)[0] if self._cache is None else self._encode_frozen(docs)

    def set_annotations(self, docs: Sequence[Doc], encoded: Encoded) -> None:
        """Leave the rows on the docs: in `doc.tensor`, and where the listeners of this backbone find them.

        docs (Sequence[Doc]): The docs.
        encoded (Encoded): From `predict`.
        """
        wants_documents = any(isinstance(listener, DocumentListener) for listener in self.listeners)
        is_lasting = self._has_later_encoder
        for i, doc in enumerate(docs):
            # A slice would keep the whole batch alive for as long as the doc lives.
            rows: Any = encoded.rows[i].copy()
            assert len(rows) == len(doc)
            doc.tensor = rows
            self.rows.put(doc, rows, encoded.documents[i].copy() if wants_documents else None, is_lasting)

    @contextlib.contextmanager
    def without_cache(self) -> Iterator[None]:
        """Predict what no training will ask for again: rows that are kept stay as they are, and none is added."""
        cache, self._cache = self._cache, None
        try:
            yield
        finally:
            self._cache = cache

    def _encode_frozen(self, docs: list[Doc]) -> Encoded:
        """What the cache knows, and one pass for the rest. The last row of what is kept is the doc's own."""
        mark = weights_mark(self.model)
        if self._cache is None or mark != self._mark:
            self._cache, self._mark = RowCache(self.cache), mark
        ops: Any = self.model.ops

        def make(lacking: list[int]) -> list[Any]:
            encoded, _ = encode(self.model, [docs[i] for i in lacking], False)
            documents: Any = encoded.documents
            return [ops.xp.concatenate([r, d[None]]) for r, d in zip(encoded.rows, documents, strict=True)]

        found = [ops.asarray2f(array) for array in self._cache.gather([doc_key(doc) for doc in docs], make)]
        documents = [array[-1] for array in found]
        return Encoded([array[:-1] for array in found], ops.xp.stack(documents) if found else ops.alloc2f(0, 0))

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Any = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Give every listener the rows of a batch. Gradients are gathered and go back all at once, in
        `finish_update` or at the next `update`: so no head, frozen or idle, can keep the others' from arriving.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout of Thinc layers; encoders of transformers have theirs in their own config.
        sgd (Optional[Optimizer]): Step at once with this optimizer once the gradients are in.
        losses (Optional[Dict[str, float]]): Gets the squared gradients that arrive, under the component's name.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "Backbone.update")
        self.steps.flush()
        self.steps.settle()
        self._require_weights()
        docs = [eg.predicted for eg in examples]
        scales, weights = self.tasks.begin(self.listener_map)
        if self._is_still:
            encoded = self._encode_frozen(docs) if self.cache.is_on else encode(self.model, docs, False)[0]
            self._send(Batch(docs, encoded, None, weights))
            return losses
        self._cache = None  # Its rows are those of weights that move from now on.
        set_dropout_rate(self.model, drop)
        encoded, backprop = encode(self.model, docs, True)
        pending = PendingGradients(encoded, backprop, losses, self.name, scales)
        self.tasks.note(self.listener_map, examples, losses)
        self._send(Batch(docs, encoded, pending, weights))
        self.steps.begin(pending, losses, sgd)
        return losses

    def rehearse(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """RAISES (ValueError): Always: see `spacy-transfer.Rehearsal.v1`."""
        raise ValueError(Errors.T450.format(name=self.name))

    @property
    def _is_still(self) -> bool:
        """Whether nothing moves in the coming step: frozen for good, or as yet (`head_first`)."""
        is_still = hooks_of(self.model).is_still
        return self.frozen or (is_still is not None and is_still(self.model))

    def _send(self, batch: Batch) -> None:
        """Leave a batch where the listeners look for it."""
        self._connect_copies()
        self.batch = batch

    def finish_update(self, sgd: Any) -> None:
        """The backward pass for the gradients of all heads, then the optimizer's step.

        An optimizer that is new here is taught the names of this component's parameters and of those of all later
        components, COMPONENT.path.parameter, since components come by in the order of the pipeline. A component that
        stands before the backbone has stepped by then, under the bare names of its parameters ("W").

        sgd (Optimizer): The optimizer.
        """
        self.watch.meet(self, sgd)
        self.steps.finish(sgd, counts_anyway=not self.frozen and self._is_still)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
    ) -> None:
        """Read the source, and tell the listeners how wide its rows are.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        """
        validate_get_examples(get_examples, "Backbone.initialize")
        self._forget()
        most = None if hooks_of(self.model).reads_corpus else 10
        docs = [example.x for example in islice(get_examples(), most)]
        if not docs:
            raise ValueError(Errors.T404.format(name=self.name))
        if self.frozen and any(shim.tuning is not None for shim in tunable_shims(self.model)):
            raise ValueError(Errors.T619.format(name=self.name))
        if nlp is not None:
            self._check_order(nlp)
        self.tasks.check(self.listener_map)
        self.model.initialize(X=docs)
        self.tasks.check_passes(self)
        for name, listeners in self.listener_map.items():
            for listener in listeners:
                self._agree_on_width(listener, name)

    def _check_order(self, nlp: Language) -> None:
        mine = {self.name, "*"}
        for name, pipe in nlp.pipeline:
            if name == self.name:
                return
            model = getattr(pipe, "model", None)
            nodes = model.walk() if isinstance(model, Model) else ()
            if any(isinstance(node, Tok2VecListener) and node.upstream_name in mine for node in nodes):
                raise ValueError(Errors.T405.format(head=name, backbone=self.name))
            if isinstance(pipe, ListenedToComponent):
                mine.discard("*")  # It has found that one.

    def _forget(self) -> None:
        self.steps.forget()
        self.tasks.forget()
        self._cache = self.batch = None

    def _require_weights(self) -> None:
        if not self.model.has_dim("nO"):
            raise ValueError(Errors.T406.format(name=self.name))

    # Saving

    needs_checksum = True

    def before_saving(self) -> None:
        """Nobody saves between a backbone and its heads: what they owe to a batch is in, or does not come."""
        self.steps.settle(is_over=True)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A copy, or what another process gets, is what would be saved. (Cython asks for no `__getstate__`.)"""
        self.before_saving()
        return super().__reduce_ex__(protocol)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Backbone":
        """Load the component, and forget what was under way.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): Fields to leave out.
        RETURNS (Backbone): self.
        """
        self._forget()
        return super().from_disk(path, exclude=exclude)

    # Adapters

    def save_adapter(self, path: str | Path) -> None:
        """Write the adapter alone, in peft's own format, with the fingerprint of the encoder it belongs to. Another
        training begins from it by `source` in its block model.tuning.adapter.

        path (Union[str, Path]): The folder; it is made.
        """
        self.before_saving()
        self._tuned_shim("save").save_adapter(Path(path))

    def merge_adapter(self) -> None:
        """Fold the adapter into the encoder, for inference without it. See `spacy-transfer.MergeAdapters.v1`."""
        self.before_saving()
        self._tuned_shim("merge").merge_adapter()

    def _tuned_shim(self, what: str) -> Any:
        shim = next((shim for shim in tunable_shims(self.model) if isinstance(shim, TuningShim)), None)
        if shim is None:
            raise ValueError(Errors.T648.format(name=self.name, what=what))
        return shim
