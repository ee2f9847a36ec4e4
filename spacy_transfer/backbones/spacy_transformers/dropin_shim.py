"""The shim of the drop-in: it has the interface of that of spacy-transformers, and applies a tuning."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import srsly
import torch
from spacy.util import SimpleFrozenDict
from thinc.api import Optimizer
from thinc.types import ArgsKwargs
from thinc.util import get_torch_default_device

from ..._compat import spacy_transformers_classes
from ...errors import Errors
from ...integrity import seal, unpack
from ...tuning.adapters import plain_name
from ...tuning.policy import Tuning
from ...tuning.torch_optimizer import TorchOptimizer
from ...types import Config
from ..cached_rows.row_cache import CacheSettings
from ..shims.aligned_memory import align_weights
from ..shims.loss_scale import LossScale
from ..shims.safetensors_shim import dump_tensors, read_state
from ..shims.torch_tuning import TuningShim
from ..sources import fingerprint, resolve_source
from ..transformer.layers.layer_split import can_split, kept_states, upper_output
from ..transformer.precision import Precision, autocast_to, check_precision
from ..transformer.pretrained import build_encoder, read_weights
from ..transformer.probes import check_autocast
from ..transformer.reading.source_checks import Fields, check_finite, check_forward, check_header
from ..transformer.reading.tokenizer_checks import check_ids
from .dropin_files import read_files, write_files

if TYPE_CHECKING:
    from spacy_transformers.data_classes import HFObjects
    from spacy_transformers.layers.hf_shim import HFShim
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.utils import ModelOutput
else:
    HFShim = spacy_transformers_classes().HFShim

# The format of our bytes.
_FORMAT = "spacy-transfer.TransformerModel.v1"
_SAVED = "The saved backbone"
# The fields of what is saved with an encoder, and their types.
_FIELDS: Fields = {
    "class": str,
    "adapter": (dict, type(None)),
    "adapter_state": bytes,
    "files": dict,
    "is_fast": bool,
    "fingerprint": str,
    "steps": int,
}


class DropInShim(TuningShim, HFShim):
    """Holds encoder and tokenizer of a component of spacy-transformers.

    objects (HFObjects): Settings of both. The encoder comes with `start`.
    source (str): The name in the config.
    scaling (Optional[Config]): Arguments of the loss scale; None for no loss scale.
    """

    owner = "transformer"
    # The component in names of parameters, for groups of an optimizer: a shim does not know its component's name.
    called = "backbone"
    not_copied = (*TuningShim.not_copied, "_due_optimizer", "_informed")
    keeps_graph = False

    def __init__(
        self,
        objects: "HFObjects",
        source: str,
        *,
        tuning: Tuning | None,
        precision: Precision,
        scaling: Config | None,
        cache: CacheSettings,
    ) -> None:
        # Without the autocast and loss scale of Thinc, which divides accumulated gradients more than once.
        super().__init__(tuning, objects, mixed_precision=False, grad_scaler_config={"enabled": False})
        self.source, self.fingerprint = source, ""
        self.precision: Precision = precision
        self.loss_scale = None if scaling is None else LossScale(**scaling)
        self.serve(self.owner, cache)
        self._n_next_docs = 0
        self._awaits_gradients = False
        self._can_split: bool | None = None
        self._due_optimizer: Optimizer | None = None
        self._informed: weakref.ref[Optimizer] | None = None

    # Setting up

    def start(self, transformer: "PreTrainedModel") -> None:
        """Install an encoder from its source, with a new adapter or a saved one."""
        if self.tuning is not None and (self.tuning.adapter is not None or self.tuning.anchor is not None):
            self.fingerprint = fingerprint(resolve_source(self.source).path)
        align_weights(transformer)
        self.install_from_source(lambda adapter: self.install(transformer, adapter), self.fingerprint)

    def install(self, transformer: "PreTrainedModel", adapter: Config | None) -> None:
        """Take an encoder, and put an adapter into it."""
        self.prepare_encoder(transformer, adapter)
        self._model = transformer.eval()
        self._model.to(get_torch_default_device())
        self._can_split = None
        if self.precision != "fp32" and check_precision(self.precision, self.device):
            check_autocast(transformer, self._autocast(), self.precision)
        self._awaits_gradients, self._due_optimizer = False, None
        self.apply_tuning()

    def read_origin(self) -> "dict[str, Tensor]":
        found = read_weights(self.source, self.fingerprint)
        named = {name: plain_name(name) for name, _ in self._model.named_parameters()}
        return {name: found[plain].to(self.device) for name, plain in named.items() if plain in found}

    # Passes

    def set_n_docs(self, n_docs: int) -> None:
        """Set the number of docs of the next batch, which is given as windows."""
        self._n_next_docs = n_docs

    def predict(self, inputs: ArgsKwargs) -> "ModelOutput":
        """RETURNS (ModelOutput): The encoder's output without autograd. Unsupported devices predict in fp32."""
        self.make_due_step()
        if self._model.training:
            self._model.eval()
        with torch.no_grad(), self._autocast():
            return _as_float32(self._model(*inputs.args, **inputs.kwargs))

    def begin_update(self, inputs: ArgsKwargs) -> "tuple[ModelOutput, Callable[[ArgsKwargs], None]]":
        """RETURNS (Tuple[ModelOutput, Callable]): The encoder's output, and a callback that takes its gradients, and
        adds to those of the parameters. It does nothing if all are frozen."""
        self._awaits_gradients = False  # Gradients of an earlier batch do not come any more.
        self.make_due_step()
        if not check_precision(self.precision, self.device):
            raise ValueError(Errors.T115.format(precision=self.precision, device=self.device))
        self.prepare_step(self._n_next_docs)
        self._n_next_docs = 0
        if self.is_frozen:
            self._model.eval()
            with torch.no_grad():
                return self._run(inputs), lambda grads: None
        output = self._run(inputs)
        self._awaits_gradients = True

        def backprop(grads: ArgsKwargs) -> None:
            self._awaits_gradients = False
            outputs, given = grads.args[0], grads.kwargs["grad_tensors"]
            outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
            pairs = zip(outputs, given, strict=True)
            self.send_back(outputs, [grad.to(out.device) for out, grad in pairs], self.current_scale)

        return output, backprop

    def _run(self, inputs: ArgsKwargs) -> "ModelOutput":
        n_lower, cache = self.states_below()
        # The top layer is always run, so that the output has everything, such as the pooler's.
        n_lower = 0 if self.policy is None else min(n_lower, self.policy.n_layers - 1)
        with self._autocast():
            if cache is None or n_lower < 1 or not self._can_cache(inputs):
                return _as_float32(self._model(*inputs.args, **inputs.kwargs))
            states = kept_states(self._model, n_lower, cache, **inputs.kwargs)
            return _as_float32(upper_output(self._model, n_lower, states, **inputs.kwargs))

    def _can_cache(self, inputs: ArgsKwargs) -> bool:
        config: PretrainedConfig = self._model.config
        needs_all = config.output_attentions or config.output_hidden_states
        # Checkpointing would compute the upper layers again from other states.
        checkpointing = self.tuning is not None and self.tuning.checkpointing
        mask = inputs.kwargs.get("attention_mask")
        if needs_all or checkpointing or mask is None or not bool(mask[:, 0].all()):
            return False
        if self._can_split is None:
            self._can_split = can_split(self._model)
        return self._can_split

    def _autocast(self) -> AbstractContextManager[None]:
        is_supported = check_precision(self.precision, self.device)
        return autocast_to(self.device, self.precision if is_supported else "fp32")

    # Steps

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step now, or before the next pass if heads have not sent their gradients yet.

        `nlp.update(..., sgd=optimizer)` calls this before the heads run. A step at that time would change weights that
        the backward pass needs.
        """
        self._send_names(optimizer)
        if self._awaits_gradients:
            self._due_optimizer = optimizer
        else:
            super().finish_update(optimizer)

    def end_batch(self) -> None:
        self._awaits_gradients = False

    def make_due_step(self) -> None:
        """Make the step that waited for gradients, if they have come."""
        if self._awaits_gradients or self._due_optimizer is None:
            return
        optimizer, self._due_optimizer = self._due_optimizer, None
        super().finish_update(optimizer)
        if isinstance(optimizer, TorchOptimizer):
            optimizer.step()  # It has the gradients of the heads of that batch already.

    def _send_names(self, optimizer: Optimizer) -> None:
        """Tell an optimizer with groups the names of the parameters, once."""
        if isinstance(optimizer, TorchOptimizer) and not (self._informed and self._informed() is optimizer):
            names = [f"{self.called}.{name}" for name, _ in self._model.named_parameters()]
            optimizer.learn_names(shims={self.id: self.called}, parameters=names)
            self._informed = weakref.ref(optimizer)

    @contextmanager
    def use_params(self, params: dict) -> Iterator[None]:
        """Within, use the parameters of this shim in `params`."""
        self.make_due_step()
        with super().use_params(params):
            yield

    def __getstate__(self) -> Config:
        self.make_due_step()
        return {**super().__getstate__(), "_awaits_gradients": False}

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Sealed msgpack of weights and adapter as safetensors, config, tokenizer, and steps."""
        self.make_due_step()
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

        RAISES (ValueError): When spacy-transformers itself wrote the bytes, or they do not match.
        """
        saved = unpack(bytes_data, f"The encoder saved by {_FORMAT}")
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            raise ValueError(Errors.T122)
        check_header(saved, {"state": bytes})
        if not saved["state"]:
            check_header(saved, {"_init_tokenizer_config": dict, "_init_transformer_config": dict})
            settings = (saved["_init_tokenizer_config"], saved["_init_transformer_config"])
            self._hfmodel = spacy_transformers_classes().HFObjects(None, None, None, *settings)
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
        self._hfmodel = spacy_transformers_classes().HFObjects(tokenizer, transformer, vocab_file, *done)
        self.fingerprint, self.steps = saved["fingerprint"], saved["steps"]
        self.install(transformer, saved["adapter"])
        self.fill_adapter(adapter_state)
        return self


def _as_float32(output: "ModelOutput") -> "ModelOutput":
    """With autocast some outputs are in half precision, which NumPy and Thinc do not have."""
    for key, value in output.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            output[key] = value.float()
        elif isinstance(value, tuple) and all(isinstance(part, torch.Tensor) for part in value):
            output[key] = tuple(part.float() for part in value)
    return output
