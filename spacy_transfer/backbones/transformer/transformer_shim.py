"""The shim of TransformerBackbone.v1: it holds, trains and saves an encoder of transformers with its tokenizer."""

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from spacy.tokens import Doc
from thinc.types import FloatsXd
from thinc.util import get_torch_default_device

from ...errors import Errors
from ...integrity import seal, unseal
from ...tuning.adapters import has_adapter, merge, plain_name, save_adapter
from ...tuning.policy import Tuning
from ...types import Config
from ..bases import Base
from ..shims.aligned_memory import as_tensor
from ..shims.loss_scale import LossScale
from ..shims.retained_graph import is_graph_kept
from ..shims.safetensors_shim import dump_tensors, load_tensors, read_shapes
from ..shims.torch_tuning import TuningShim
from .memory import FreeMemory
from .pieces import Pieces, cut_pieces, encode_texts
from .reading.tokenizer_checks import panics_are_errors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

    from ..cached_rows.row_cache import RowCache
    from .encoder import Encoder, Pass
    from .pretrained import Pretrained
    from .shared import SharedEncoder

_ADAPTER = "adapter."  # The prefix of the adapter's names in saved files.
_Rows = TypeVar("_Rows")
_MIX = ("mix.weights", "mix.gamma")


@dataclass(frozen=True)
class Settings:
    """The arguments of the builder. Kept out of the saved state, so that a config can override them at load."""

    source: str
    window: int
    overlap: int
    max_batch_items: int
    pooling: Literal["mean", "first"]
    layers: Literal["last", "mix"] | int
    precision: Literal["fp32", "bf16", "fp16"]
    document: Literal["mean", "cls"]
    special_tokens: bool
    depth: int | None
    tuning: Tuning | None = None


class TransformerShim(TuningShim):
    """Holds encoder and tokenizer, and saves both. A saved pipeline loads without its source."""

    prefix = "transformer."
    pretrained: "Pretrained | None"
    not_copied = (*TuningShim.not_copied, "shared", "saved_as")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.tuning)
        self.settings = settings
        self.pretrained = None
        self.shared: SharedEncoder | None = None
        self.saved_as: tuple[Base, frozenset[str]] | None = None
        self._home = os.getpid()
        self._free_memory = FreeMemory()

    def own_weights(self) -> None:
        """Stop sharing the base's weights: they are about to change."""
        if self.shared is not None:
            from .shared import own_weights

            own_weights(self._model)
            self.shared = None

    @property
    def encoder(self) -> "Encoder":
        """RETURNS (Encoder): The encoder.

        RAISES (ValueError): Before `initialize`.
        """
        if self._model is None:
            raise ValueError(Errors.T108.format(source=self.settings.source))
        return self._model

    @property
    def width(self) -> int | None:
        """RETURNS (Optional[int]): Width of the rows; null before `initialize`."""
        return None if self._model is None else self.encoder.width

    def start(self, pretrained: "Pretrained") -> None:
        """Install an encoder from its source, with a new adapter or a saved one."""
        from .packed import can_pack
        from .pretrained import try_out
        from .probes import check_input, check_rows, take_whole_windows

        take_whole_windows(pretrained.transformer)
        if can_pack(pretrained.transformer):
            try_out(pretrained, self.settings.source)
        else:
            check_input(pretrained.transformer)
            check_rows(pretrained.transformer, self.settings.source)
        self.install_from_source(lambda adapter: self.install(pretrained, adapter), pretrained.fingerprint)

    def install(self, pretrained: "Pretrained", adapter: Config | None) -> None:
        """Take an encoder, after checks of its size and this device."""
        from .encoder import Encoder
        from .packed import can_pack
        from .precision import autocast_to, check_precision
        from .probes import check_autocast, check_top_layers

        settings = self.settings
        device = get_torch_default_device()
        if not check_precision(settings.precision, device):
            raise ValueError(Errors.T115.format(precision=settings.precision, device=device))
        most = most_pieces(pretrained.transformer)
        if most is not None and settings.window > most:
            raise ValueError(Errors.T116.format(window=settings.window, most=most))
        if settings.window - settings.overlap <= len(pretrained.prefix) + len(pretrained.suffix):
            raise ValueError(Errors.T113.format(overlap=settings.overlap, window=settings.window))
        if isinstance(settings.layers, int):
            check_top_layers(pretrained.transformer, settings.layers, settings.source)
        pretrained.tokenizer.encode_special_tokens = not settings.special_tokens
        self.prepare_encoder(pretrained.transformer, adapter)
        self.pretrained = pretrained
        parts = (pretrained.transformer, pretrained.prefix, pretrained.suffix, pretrained.pad_id)
        self.shared = None
        self._model = Encoder(*parts, settings.layers).to(device).eval()
        if settings.precision != "fp32" and not can_pack(pretrained.transformer):
            check_autocast(pretrained.transformer, autocast_to(device, settings.precision), settings.precision)
        self.steps = pretrained.steps
        self.loss_scale = LossScale() if settings.precision == "fp16" else None
        self.apply_tuning()

    def read_origin(self) -> "dict[str, Tensor]":
        from .pretrained import read_weights

        wanted = cast("Pretrained", self.pretrained).fingerprint
        found = read_weights(self.settings.source, wanted, self.settings.depth)
        by_plain_name = {self.prefix + name: tensor for name, tensor in found.items()}
        device = next(self.encoder.parameters()).device
        return {
            name: by_plain_name[plain_name(name)].to(device)
            for name, _ in self.encoder.named_parameters()
            if plain_name(name) in by_plain_name
        }

    def cut(self, docs: list[Doc], read_empty: bool | None = None) -> Pieces:
        """Cut texts into word pieces.

        read_empty (Optional[bool]): Give texts without pieces a window of special tokens; null where the document row
            is that of the first one, so that a classifier that was trained on its state finds one.
        RETURNS (Pieces): Word pieces of docs, with windows and alignment.
        """
        encoder, own = self.encoder, self.settings
        self._stay_in_one_thread_of_a_child()
        with panics_are_errors(own.source):
            found = encode_texts(cast("Pretrained", self.pretrained).tokenizer, docs)
        budget = own.window - len(encoder.prefix) - len(encoder.suffix)
        read_empty = own.document == "cls" if read_empty is None else read_empty
        return cut_pieces(docs, found, budget, own.overlap, own.pooling, read_empty=read_empty and bool(encoder.prefix))

    def predict(self, inputs: Pieces) -> "tuple[Tensor, Tensor]":  # type: ignore[override]
        """RETURNS (Tuple[Tensor, Tensor]): Rows of tokens and docs, without autograd."""
        return self._predicting(lambda encoder: encoder(inputs, self._pass()), inputs)

    def predict_depths(self, docs: list[Doc]) -> "list[tuple[Tensor, Tensor, Tensor]]":
        """RETURNS (List[Tuple[Tensor, Tensor, Tensor]]): What `Encoder.rows_of_depths` gives, without autograd."""
        inputs = self.cut(docs, read_empty=True)
        how = replace(self._pass(), every_layer=True)
        return self._predicting(lambda encoder: encoder.rows_of_depths(inputs, how), inputs)

    def _predicting(self, run: "Callable[[Encoder], _Rows]", inputs: Pieces) -> "_Rows":
        import torch

        encoder = self.encoder
        if encoder.training:
            encoder.eval()
        with torch.inference_mode():
            rows = run(encoder)
        self._free_memory.count(len(inputs.ids))
        return rows

    def begin_update(  # type: ignore[override]
        self, inputs: Pieces
    ) -> "tuple[tuple[Tensor, Tensor], Callable[[list[FloatsXd]], None]]":
        """RETURNS (Tuple[Tuple[Tensor, Tensor], Callable]): Rows of tokens and docs, and a callback that takes their
        gradients, and adds to those of the parameters."""
        encoder = self.encoder
        self.prepare_step(inputs.n_docs)
        n_lower, cache = self.states_below()
        outputs = encoder(inputs, self._pass(n_lower, cache))
        scale = self.current_scale

        def backward(grads: list[FloatsXd]) -> None:
            tensors = [as_tensor(grad, out.device) for out, grad in zip(outputs, grads, strict=True)]
            self.send_back(outputs, tensors, scale, retain_graph=is_graph_kept())

        return outputs, backward

    def piece_states(self, pieces: Pieces, is_train: bool) -> "Tensor":
        """States of all word pieces, for an objective that changes pieces: no states of lower layers are kept.

        pieces (Pieces): The batch.
        is_train (bool): Keep the graph, with dropout.
        RETURNS (Tensor): Shape (n_pieces, width).
        """
        import torch

        if is_train:
            self.prepare_step(pieces.n_docs)
            return self.encoder.piece_states(pieces, self._pass(self.states_below()[0]))
        self.encoder.eval()
        with torch.no_grad():
            return self.encoder.piece_states(pieces, self._pass())

    @property
    def one_pass(self) -> "Pass":
        """RETURNS (Pass): The settings of a pass of all layers."""
        return self._pass()

    def _pass(self, n_lower: int = 0, cache: "RowCache | None" = None) -> "Pass":
        from .encoder import Pass

        own, checkpointing = self.settings, self.tuning is not None and self.tuning.checkpointing
        return Pass(own.max_batch_items, own.precision, own.document, n_lower, cache, checkpointing)

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Sealed safetensors, with config and tokenizer in their header; empty before `initialize`."""
        if self._model is None or self.pretrained is None:
            return b""
        return self._dump(self.adapter_tensors(), self.adapter)

    def _dump(self, tensors: "dict[str, Tensor]", adapter: Config | None) -> bytes:
        """With this adapter, whose tensors may be another shim's."""
        own, base = self.own_state(), None
        if self.saved_as is not None:
            base, unchanged = self.saved_as
            own = {name: tensor for name, tensor in own.items() if name not in unchanged}
        state = own | {_ADAPTER + name: tensor for name, tensor in tensors.items()}
        metadata = cast("Pretrained", self.pretrained).to_metadata(self.steps, adapter, base)
        return seal(dump_tensors(state, metadata))

    def own_state(self) -> "dict[str, Tensor]":
        """All tensors but the adapter's, under their plain names."""
        adapter = self.adapter_tensors()
        return {
            plain_name(name): tensor
            for name, tensor in self._model.state_dict().items()
            if name.removeprefix(self.prefix) not in adapter
        }

    def from_bytes(self, bytes_data: bytes) -> "TransformerShim":
        from .pretrained import cut, rebuild
        from .shared import read_base, rebuild_delta, shared_encoder

        if bytes_data:
            state, shared = unseal(bytes_data, "The saved encoder"), None
            base = read_base(state)
            if base is None:
                pretrained, adapter, rest = rebuild(state, self.prefix)
            else:
                shared = shared_encoder(base, self.settings.source)
                pretrained, adapter, rest = rebuild_delta(state, self.prefix, shared, self.settings.special_tokens)
            cut(pretrained, self.settings.depth, "the saved pipeline")
            self.install(pretrained, adapter)
            self.shared = shared
            tensors = {n.removeprefix(_ADAPTER): t for n, t in rest.items() if n.startswith(_ADAPTER)}
            self.fill_adapter(tensors)
            if self.encoder.mix is not None:
                load_tensors(self.encoder.mix, {n.removeprefix("mix."): t for n, t in rest.items() if n in _MIX})
        return self

    # A pretrained file

    def differences(self, data: bytes) -> list[str]:
        """RETURNS (List[str]): What keeps saved bytes from taking the place of the encoder that stands here."""
        from .pretrained import read_header

        state = unseal(data, "The pretrained encoder")
        header, shapes = read_header(state), read_shapes(state)
        saved = {name: shape for name, shape in shapes.items() if not name.startswith(_ADAPTER)}
        own = {name: tuple(tensor.shape) for name, tensor in self.own_state().items()}
        pretrained = cast("Pretrained", self.pretrained)
        kind, found = type(pretrained.transformer).__name__, []
        if header["class"] != kind:
            found.append(f"its encoder is a {header['class']}, not a {kind}")
        both = [name for name in own if name in saved and own[name] != saved[name]]
        found += [f"{name} has the shape {saved[name]}, not {own[name]}" for name in both]
        found += [f"it has no {name}" for name in own if name not in saved]
        found += [f"it has a {name}" for name in saved if name not in own]
        words = [
            json.loads(text)["model"].get("vocab") for text in (header["tokenizer"], pretrained.tokenizer.to_str())
        ]
        return [*found, "the words of its tokenizer are others"] if words[0] != words[1] else found

    def with_own_adapter(self, data: bytes) -> bytes:
        """Saved bytes with the adapter that stands here, if the saved one is of another kind: that one is merged.

        RETURNS (bytes): For `from_bytes`.
        """
        from .pretrained import read_header

        saved = read_header(unseal(data, "The pretrained encoder"))["adapter"]
        if json.dumps(saved, sort_keys=True) == json.dumps(self.adapter, sort_keys=True):
            return data
        other = TransformerShim(replace(self.settings, tuning=None)).from_bytes(data)
        if has_adapter(other.encoder):
            merge(other.encoder)
        return other._dump(self.adapter_tensors(), self.adapter)

    def save_adapter(self, folder: "Path") -> None:
        """Write the adapter alone, as peft does, with the fingerprint of its encoder."""
        tensors = self.adapter_tensors()
        if self.adapter is None or not tensors:
            raise ValueError(Errors.T648.format(name=self.owner, what="save"))
        save_adapter(folder, self.adapter, tensors, cast("Pretrained", self.pretrained).fingerprint)

    def _stay_in_one_thread_of_a_child(self) -> None:
        """Workers of `nlp.pipe(n_process=...)` share the cores, and a forked OpenMP pool hangs."""
        if os.getpid() != self._home and multiprocessing.parent_process() is not None:
            import torch

            os.environ["TOKENIZERS_PARALLELISM"] = "false"
            torch.set_num_threads(1)
            self._home = os.getpid()


def most_pieces(transformer: "PreTrainedModel") -> int | None:
    """RETURNS (Optional[int]): The most pieces in one pass; None where positions are relative."""
    positions = getattr(getattr(transformer, "embeddings", None), "position_embeddings", None)
    if positions is not None and hasattr(positions, "num_embeddings"):
        first = 0 if positions.padding_idx is None else positions.padding_idx + 1
        return int(positions.num_embeddings) - first
    most = getattr(transformer.config, "max_position_embeddings", None)
    return int(most) if isinstance(most, int) and most > 0 else None
