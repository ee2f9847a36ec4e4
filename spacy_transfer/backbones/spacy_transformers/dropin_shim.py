"""The shim of the drop-in: spacy-transformers' own by what others read of it, ours by what it does."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import srsly
import torch
from spacy.util import SimpleFrozenDict
from thinc.util import get_torch_default_device

from ..._compat import spacy_transformers_classes
from ...errors import Errors
from ...integrity import seal, unpack
from ...tuning.adapters import plain_name, read_adapter
from ...tuning.policy import Tuning
from ..row_cache import CacheSettings
from ..shims.loss_scale import LossScale
from ..shims.safetensors_shim import dump_tensors, read_state
from ..shims.torch_tuning import TuningShim
from ..sources import fingerprint, resolve_source
from ..transformer.encoder import Precision, check_precision
from ..transformer.layer_split import can_split, kept_states, upper_output
from ..transformer.pretrained import build_encoder, read_weights
from ..transformer.probes import check_autocast
from ..transformer.source_checks import check_finite, check_forward, check_header
from ..transformer.tokenizer_checks import check_ids
from .dropin_files import read_files, write_files

if TYPE_CHECKING:
    from torch import Tensor

_THEIRS = spacy_transformers_classes()
HFShim: Any = _THEIRS.HFShim

# Says that bytes are ours, and how they are laid out.
_FORMAT = "spacy-transfer.TransformerModel.v1"
_SAVED = "The saved backbone"
# What is saved with an encoder, and of what type.
_FIELDS = {
    "class": str,
    "adapter": (dict, type(None)),
    "adapter_state": bytes,
    "files": dict,
    "is_fast": bool,
    "fingerprint": str,
    "steps": int,
}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DropInShim(TuningShim, HFShim):
    """Holds encoder and tokenizer of a component of spacy-transformers.

    objects (HFObjects): Settings of both; what they hold comes with `start`.
    source (str): The name in the config.
    tuning (Optional[Tuning]): What moves; null for everything.
    precision (str): "fp32", or autocast.
    scaling (Optional[Dict[str, Any]]): Options of the loss scale; null for none.
    cache (CacheSettings): Bounds of what is kept of states at the boundary.
    """

    owner = "transformer"
    # How groups of an optimizer know what is in here: a shim cannot know its component's name.
    called = "backbone"
    of_this_training = (*TuningShim.of_this_training, "_owed", "_taught")

    keeps_graph = False

    def __init__(
        self,
        objects: Any,
        source: str,
        *,
        tuning: Tuning | None,
        precision: Precision,
        scaling: dict[str, Any] | None,
        cache: CacheSettings,
    ) -> None:
        # Autocast and loss scale are ours; theirs takes every batch of a step out of its scale anew.
        super().__init__(tuning, objects, mixed_precision=False, grad_scaler_config={"enabled": False})
        self.source, self.fingerprint = source, ""
        self.precision: Precision = precision
        self.loss_scale = None if scaling is None else LossScale(**scaling)
        self.serve(self.owner, cache)
        self._coming = 0
        self._waits = False
        self._can_split: bool | None = None
        self._owed: Any = None
        self._taught: Any = None

    # Setting up

    def start(self, transformer: Any) -> None:
        """Take an encoder as it comes from its source: with a fresh adapter, or one that was saved."""
        adapter, tensors = None if self.tuning is None else self.tuning.adapter, None
        if self.tuning is not None and (adapter is not None or self.tuning.anchor is not None):
            self.fingerprint = fingerprint(resolve_source(self.source).path)
        if adapter is not None and adapter.get("source"):
            adapter, tensors = read_adapter(str(adapter["source"]), adapter, self.fingerprint)
            check_finite(tensors.items(), str(adapter["source"]))
        self.install(transformer, adapter)
        self.check_layers()
        if tensors is not None:
            self.fill_adapter(tensors, without=".default")
        self.remember_origin()

    def install(self, transformer: Any, adapter: dict[str, Any] | None) -> None:
        """Put an encoder under this shim, and an adapter into it."""
        self.adopt(transformer, adapter)
        self._model = transformer.to(get_torch_default_device()).eval()
        self._can_split = None
        if self.precision in _DTYPES and check_precision(self.precision, self.device):
            check_autocast(transformer, self._autocast(), self.precision)
        self._waits, self._owed = False, None
        self.work_out()

    def read_origin(self) -> "dict[str, Tensor]":
        """RETURNS (Dict[str, Tensor]): The weights of the source, by this module's names."""
        found = read_weights(self.source, self.fingerprint)
        named = {name: plain_name(name) for name, _ in self._model.named_parameters()}
        return {name: found[plain].to(self.device) for name, plain in named.items() if plain in found}

    # Passes

    def expect(self, n_docs: int) -> None:
        """Hear how many docs the windows of the coming batch are cut from."""
        self._coming = n_docs

    def predict(self, inputs: Any) -> Any:
        """The encoder's output without autograd; in fp32 on a device that has no other precision."""
        self.settle()
        if self._model.training:
            self._model.eval()
        with torch.no_grad(), self._autocast():
            return _as_float32(self._model(*inputs.args, **inputs.kwargs))

    def begin_update(self, inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
        """The encoder's output, and a callback that adds to the gradients of what moves.

        RETURNS (Tuple[ModelOutput, Callable[[ArgsKwargs], None]]): Output and callback. Where nothing moves, the
            callback drops what it gets.
        """
        self._waits = False  # If the last batch's gradients never came, they will not come now.
        self.settle()
        if not check_precision(self.precision, self.device):
            raise ValueError(Errors.T115.format(precision=self.precision, device=self.device))
        self.let_move(self._coming)
        self._coming = 0
        if self.is_frozen:
            self._model.eval()
            with torch.no_grad():
                return self._run(inputs), _drop
        output = self._run(inputs)
        self._waits = True

        def backprop(grads: Any) -> None:
            self._waits = False
            self._send_back(grads)

        return output, backprop

    def _run(self, inputs: Any) -> Any:
        n_lower, cache = self.states_below()
        # The top layer is run in any case: so the output has all that the encoder gives, its pooler's among it.
        n_lower = 0 if self.policy is None else min(n_lower, self.policy.n_layers - 1)
        with self._autocast():
            if cache is None or n_lower < 1 or not self._can_keep(inputs):
                return _as_float32(self._model(*inputs.args, **inputs.kwargs))
            states = kept_states(self._model, n_lower, cache, **inputs.kwargs)
            return _as_float32(upper_output(self._model, n_lower, states, **inputs.kwargs))

    def _can_keep(self, inputs: Any) -> bool:
        config: Any = self._model.config
        wants_all = config.output_attentions or config.output_hidden_states
        # What is computed twice for the backward pass would be computed from other states.
        is_twice = self.tuning is not None and self.tuning.checkpointing
        mask = inputs.kwargs.get("attention_mask")
        if wants_all or is_twice or mask is None or not bool(mask[:, 0].all()):
            return False
        if self._can_split is None:
            self._can_split = can_split(self._model)
        return self._can_split

    def _send_back(self, grads: Any) -> None:
        outputs, given = grads.args[0], list(grads.kwargs["grad_tensors"])
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        scale = 1.0 if self.loss_scale is None else self.loss_scale.scale
        pairs = [(out, grad.to(out.device)) for out, grad in zip(outputs, given, strict=True) if out.requires_grad]
        if pairs:
            scaled = [grad * scale if scale != 1.0 else grad for _, grad in pairs]
            torch.autograd.backward([out for out, _ in pairs], scaled)

    def _autocast(self) -> AbstractContextManager:
        device = self.device
        if self.precision not in _DTYPES or not check_precision(self.precision, device):
            return nullcontext()
        return torch.autocast(device.type, dtype=_DTYPES[self.precision])

    # Steps

    def finish_update(self, optimizer: Any) -> None:
        """Make a step, now or, where heads have yet to send their gradients, before the next pass.

        `nlp.update(..., sgd=optimizer)` asks for the step of this component before any head has run. Stepping then
        would change weights that the backward pass still needs.

        optimizer (Optimizer): The optimizer. One that finds groups by names learns those of the parameters in here.
        """
        self._teach(optimizer)
        if self._waits:
            self._owed = optimizer
        else:
            super().finish_update(optimizer)

    def settle(self) -> None:
        """Make the step that is owed, unless its gradients are still to come."""
        if self._waits or self._owed is None:
            return
        optimizer, self._owed = self._owed, None
        super().finish_update(optimizer)
        if hasattr(optimizer, "collect"):
            # The heads of that batch have handed in theirs long since.
            optimizer.step()

    def _teach(self, optimizer: Any) -> None:
        learn_names = getattr(optimizer, "learn_names", None)
        if learn_names is None or (self._taught is not None and self._taught() is optimizer):
            return
        names = [f"{self.called}.{name}" for name, _ in self._model.named_parameters()]
        learn_names(shims={self.id: self.called}, parameters=names)
        self._taught = weakref.ref(optimizer)

    @contextmanager
    def use_params(self, params: dict) -> Iterator[None]:
        """Run with the parameters that `params` holds for this shim."""
        self.settle()
        with super().use_params(params):
            yield

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return {**super().__getstate__(), "_waits": False}

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Sealed msgpack of weights and adapter as safetensors, config, tokenizer, and steps."""
        self.settle()
        objects = self._hfmodel
        if self._model is None:
            settings = {
                "_init_tokenizer_config": objects._init_tokenizer_config,
                "_init_transformer_config": objects._init_transformer_config,
            }
            return seal(srsly.msgpack_dumps({"format": _FORMAT, "state": b"", **settings}))
        adapter = self.adapter_tensors()
        state = {plain_name(name): t for name, t in self._model.state_dict().items() if name not in adapter}
        saved = {
            "format": _FORMAT,
            "class": type(self._model).__name__,
            "state": dump_tensors(state),
            "adapter": self.adapter,
            "adapter_state": dump_tensors(adapter),
            "files": write_files(self._model.config, objects.tokenizer, objects.vocab_file_contents),
            "is_fast": objects.tokenizer.is_fast,
            "fingerprint": self.fingerprint,
            "steps": self.steps,
        }
        return seal(srsly.msgpack_dumps(saved))

    def from_bytes(self, bytes_data: bytes) -> "DropInShim":
        """Load encoder, adapter and tokenizer.

        RAISES (ValueError): When the bytes are spacy-transformers' own, or do not fit.
        """
        saved = unpack(bytes_data, f"The encoder saved by {_FORMAT}")
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            raise ValueError(Errors.T122)
        check_header(saved, {"state": bytes})
        if not saved["state"]:
            check_header(saved, {"_init_tokenizer_config": dict, "_init_transformer_config": dict})
            settings = (saved["_init_tokenizer_config"], saved["_init_transformer_config"])
            self._hfmodel = _THEIRS.HFObjects(None, None, None, *settings)
            self._model = None
            return self
        check_header(saved, _FIELDS)
        state, adapter_state = read_state(saved["state"]), read_state(saved["adapter_state"])
        check_finite([*state.items(), *adapter_state.items()], _SAVED)
        read = read_files(saved["files"], self.config_cls, self.tokenizer_cls, saved["is_fast"], len(state))
        config, tokenizer, vocab_file = read
        transformer = build_encoder(saved["class"], config, state)
        check_ids(tokenizer, transformer, [], _SAVED)
        check_forward(transformer, [0, 0], _SAVED)
        done = (SimpleFrozenDict(), SimpleFrozenDict())
        self._hfmodel = _THEIRS.HFObjects(tokenizer, transformer, vocab_file, *done)
        self.fingerprint, self.steps = saved["fingerprint"], saved["steps"]
        self.install(transformer, saved["adapter"])
        self.fill_adapter(adapter_state)
        return self


def _drop(grads: Any) -> None:
    return None


def _as_float32(output: Any) -> Any:
    """Autocast leaves some outputs in half precision, which NumPy and Thinc do not take."""
    for key, value in output.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            output[key] = value.float()
        elif isinstance(value, tuple) and all(isinstance(part, torch.Tensor) for part in value):
            output[key] = tuple(part.float() for part in value)
    return output
