"""`transfer_backbone`: one pretrained encoder, shared by all heads that listen to it."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, SupportsIndex, cast

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate

from ...backbones.cached_rows.repeats import repeats_of
from ...backbones.cached_rows.row_cache import CacheDtype, CacheSettings
from ...backbones.encode import CachedEncoder, encode
from ...backbones.links import Batch
from ...backbones.own_backbone import replace_listener, replace_listener_config
from ...backbones.pretrained_weights import load_pretrained
from ...backbones.shims.torch_tuning import TuningShim
from ...backbones.shims.tunable import tunable_shims
from ...checks import COUNT_OR_NONE, require
from ...errors import Errors
from ...tuning.weighing import TaskWeights
from ...types import BackboneT, Encoded, GetExamples, Losses, hooks_of
from ...types import Config as ConfigBlock
from ..checksums import CheckedFiles
from .complaints import named, no_examples, warn_of_deaf
from .gradients import PendingGradients
from .listened import ListenedTok2Vec
from .rates import fails_with, planned_optimizer
from .steps import Steps
from .tasks import Surgery, check_moves

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
depth = null
tuning = null
"""


class HoldsAdapter(Protocol):
    """A shim with an encoder that may have an adapter."""

    def save_adapter(self, folder: Path) -> None: ...

    def merge_adapter(self) -> None: ...


@Language.factory(
    "transfer_backbone",
    assigns=["doc.tensor"],
    default_config={
        "model": Config().from_str(DEFAULT_CONFIG)["model"],
        "frozen": None,
        "cache_mb": 512,
        "cache_disk_mb": 0,
        "cache_dtype": "float32",
        "cache_folder": None,
        "keep_rows": True,
        "weighing": None,
        "surgery": None,
    },
)
def make_backbone(
    nlp: Language,
    name: str,
    model: BackboneT,
    frozen: bool | None,
    cache_mb: int,
    cache_disk_mb: int,
    cache_dtype: CacheDtype,
    cache_folder: str | None,
    keep_rows: bool,
    weighing: TaskWeights | None,
    surgery: Surgery | None,
) -> "Backbone":
    """Construct a backbone component.

    model (Model[List[Doc], List[Floats2d]]): One of our backbones, or any tok2vec.
    frozen (Optional[bool]): Leave the weights as they are, and compute each text once a training. null: train them,
        but not with a rate that is known to destroy a transformer: one of Thinc's optimizers at 0.0001 or more.
    cache_mb (int): The most megabytes that are kept in memory: between the epochs of a training, rows of a frozen
        backbone, or states at the boundary where its lower layers are frozen; in `nlp.pipe`, rows of repeated texts.
    cache_disk_mb (int): The most megabytes of them in a temporary file, once memory is full.
    cache_dtype (str): Keep them as "float32", or as "float16" in half the room.
    cache_folder (Optional[str]): Keep rows of a frozen backbone here in place of the temporary file. Later trainings
        with the same encoder and settings read them. Any number of trainings may use the folder at once.
    keep_rows (bool): Leave the rows in `doc.tensor` after the last listener has read them.
    weighing (Optional[TaskWeights]): How much each component that listens counts: a block
        `spacy-transfer.TaskWeights.v1`; null for all alike.
    surgery (Optional[str]): "pcgrad" projects conflicting gradients of tasks (Yu et al. 2020), at the price of a
        backward pass for each task; null adds them up.
    RETURNS (Backbone): The component.
    """
    require(f"components.{name}", COUNT_OR_NONE, cache_mb=cache_mb, cache_disk_mb=cache_disk_mb)
    if cache_folder is not None and not cache_disk_mb:
        raise ValueError(Errors.T419.format(name=name, folder=cache_folder))
    cache = CacheSettings(cache_mb, cache_disk_mb, cache_dtype, None if cache_folder is None else Path(cache_folder))
    return Backbone(
        nlp.vocab,
        model,
        name,
        frozen=frozen,
        cache=cache,
        keep_rows=keep_rows,
        weighing=weighing,
        surgery=surgery,
    )


class Backbone(CheckedFiles, ListenedTok2Vec):
    """Computes rows once for all heads, and gathers the gradients of all heads for one backward pass, or with PCGrad
    for one pass each. Its arguments are those of `make_backbone`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "transfer_backbone",
        *,
        frozen: bool | None = False,
        cache: CacheSettings | None = None,
        keep_rows: bool = True,
        weighing: TaskWeights | None = None,
        surgery: Surgery | None = None,
    ) -> None:
        check_moves(name, model, frozen is True, {"weighing": weighing, "surgery": surgery})
        super().__init__(vocab, model, name, weighing, surgery)
        self._is_open = frozen is None and weighing is None and surgery is None
        self.cache = cache or CacheSettings(512)
        self.keep_rows = keep_rows
        self.steps = Steps(self)
        self._encoder = CachedEncoder(self.cache)
        for shim in tunable_shims(model):
            shim.serve(name, self.cache)
        # Looked up by nlp.replace_listeners.
        self.model.attrs["replace_listener"] = replace_listener
        self._freeze(frozen is True)

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
        return self._encoder.encode(self.model, docs)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream of docs. Texts that come again go through an encoder of transformers once, as long as their
        rows fit into `cache_mb`.

        stream (Iterable[Doc]): The docs.
        batch_size (int): How many are encoded at a time.
        YIELDS (Doc): The docs, in order.
        """
        if not (hooks_of(self.model).is_costly and self.cache.memory_mb and self.model.has_dim("nO")):
            yield from super().pipe(stream, batch_size=batch_size)
            return
        self.steps.settle()
        repeats, handle_error = repeats_of(self.model, self.cache.memory_mb), self.get_error_handler()
        for docs in minibatch(stream, size=batch_size):
            try:
                self.set_annotations(docs, repeats.encode(docs, self.predict))
                yield from docs
            except Exception as error:
                handle_error(self.name, self, docs, error)

    def without_cache(self) -> AbstractContextManager[None]:
        """Predict without the cache: rows that it holds stay, and none is added."""
        return self._encoder.pause()

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: Losses | None = None,
    ) -> Losses:
        """Give every listener the rows of a batch. There is one backward pass for the gradients of all heads, in
        `finish_update` or at the next `update`. So it does not wait for a head that is frozen or gets no examples.

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
        before_training = hooks_of(self.model).before_training
        if before_training is not None:
            before_training(self.model)
        self.steps.flush()
        self.steps.settle()
        self._require_weights()
        docs = [eg.predicted for eg in examples]
        scales, weights = self.tasks.start_batch(self.listener_map)
        self._connect_copies()
        if self._is_frozen_now:
            self._encoder.start()
            self.rows.start_batch(Batch(docs, self._encoder.encode(self.model, docs), None, weights))
            return losses
        self._encoder.forget()
        set_dropout_rate(self.model, drop)
        encoded, backprop = encode(self.model, docs, True)
        pending = PendingGradients(encoded, backprop, losses, self.name, scales)
        self.tasks.remember_losses(self.listener_map, examples, losses)
        self.rows.start_batch(Batch(docs, encoded, pending, weights))
        self.steps.start_batch(pending, losses, sgd)
        return losses

    def rehearse(self, *args: object, **kwargs: object) -> Losses:
        """RAISES (ValueError): Always: see `spacy-transfer.Rehearsal.v1`."""
        raise ValueError(Errors.T450.format(name=self.name))

    @property
    def _is_frozen_now(self) -> bool:
        """Frozen for good, or in the coming step (`head_first`)."""
        is_frozen = hooks_of(self.model).is_frozen
        return self.frozen or (is_frozen is not None and is_frozen(self.model))

    def _freeze(self, frozen: bool) -> None:
        self.frozen = frozen
        self.model.attrs["replace_listener_cfg"] = partial(replace_listener_config, frozen=frozen)

    @property
    def is_spared(self) -> bool:
        """RETURNS (bool): Whether it is frozen only because the optimizer would destroy it."""
        return self._is_open and self.frozen

    def meet(self, optimizer: Optimizer) -> None:
        """Where `frozen` is null, decide by an optimizer whether to train. What has arrived for a step that would
        destroy the encoder is dropped."""
        if self._is_open and self.frozen != fails_with(self.model, optimizer):
            self._freeze(not self.frozen)
            self.steps.drop()

    def finish_update(self, sgd: Optimizer) -> None:
        """The backward pass for the gradients of all heads, then the optimizer's step.

        An optimizer that is new here gets the names of this component's parameters and of those of all later
        components, COMPONENT.path.parameter, since components come by in the order of the pipeline. A component that
        stands before the backbone has stepped by then, under the bare names of its parameters ("W").

        sgd (Optimizer): The optimizer.
        """
        self.training_log.before_step(self, sgd)
        self.steps.finish(sgd, counts_anyway=not self.frozen and self._is_frozen_now)

    def initialize(
        self, get_examples: GetExamples, *, nlp: Language | None = None, pretrained: Path | None = None
    ) -> None:
        """Read the source, and tell the listeners how wide its rows are.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        pretrained (Optional[Path]): A file of `spacy pretrain`, which is loaded at once: heads that are solved in
            their own `initialize` read its rows. spaCy's `init_tok2vec` comes after that.
        """
        validate_get_examples(get_examples, "Backbone.initialize")
        self._forget()
        most = None if hooks_of(self.model).reads_corpus else 10
        docs = [example.x for example in islice(get_examples(), most)]
        if not docs:
            raise ValueError(no_examples(self.name, nlp))
        if self._is_open and nlp is not None:
            planned = planned_optimizer(nlp)
            self._freeze(planned is not None and fails_with(self.model, planned))
        if self.frozen and any(shim.tuning is not None for shim in tunable_shims(self.model)):
            raise ValueError(Errors.T619.format(name=self.name))
        if nlp is not None:
            self._check_order(nlp)
            warn_of_deaf(self, nlp)
        self.tasks.check(self.listener_map)
        with named(self.name):
            self.model.initialize(X=docs)
        if pretrained is not None:
            load_pretrained(self.model, Path(pretrained), f"initialize.components.{self.name}.pretrained")
        self.tasks.check_passes(self)
        for name, listeners in self.listener_map.items():
            for listener in listeners:
                self._agree_on_width(listener, name)
        if self.frozen and nlp is not None:
            # What `get_pipe_config` gives has variables: rows depend on their values.
            self._encoder.share(self.model, lambda: nlp.config.interpolate()["components"][self.name], self.name)

    def _forget(self) -> None:
        self.steps.forget()
        self.tasks.forget()
        self._encoder.forget()
        self.rows.start_batch(None)

    def _require_weights(self) -> None:
        if not self.model.has_dim("nO"):
            raise ValueError(Errors.T406.format(name=self.name))

    # Saving

    needs_checksum = True

    def before_saving(self) -> None:
        """Make a delayed step before saving: no more gradients come."""
        self.steps.settle(is_over=True)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple:
        """A copy or pickle has the state that would be saved. (Cython does not call `__getstate__`.)"""
        self.before_saving()
        return super().__reduce_ex__(protocol)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Backbone":
        """Load the component, and drop gradients and a delayed step.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): Fields to leave out.
        RETURNS (Backbone): self.
        """
        self._forget()
        return super().from_disk(path, exclude=exclude)

    def training_state(self) -> ConfigBlock:
        """RETURNS (Dict[str, Any]): What a training that goes on needs besides weights, for JSON."""
        return self.tasks.training_state()

    def set_training_state(self, state: ConfigBlock) -> None:
        """Begin with what `training_state` gave."""
        self.tasks.set_training_state(state)

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

    def _tuned_shim(self, what: str) -> HoldsAdapter:
        for shim in tunable_shims(self.model):
            if isinstance(shim, TuningShim):
                return cast(HoldsAdapter, shim)
        raise ValueError(Errors.T648.format(name=self.name, what=what))
