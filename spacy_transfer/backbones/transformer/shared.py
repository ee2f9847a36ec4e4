"""Weights of a base in memory once, for all encoders of a process that are deltas of it."""

import copy
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

from thinc.util import get_torch_default_device
from tokenizers import Tokenizer
from torch import Tensor, nn

from ...errors import Errors
from ...types import Config
from ..bases import Base, find_base, may_download, missing
from ..shims.safetensors_shim import read_state
from .pretrained import Pretrained, read_header, read_source
from .reading.source_checks import Fields, check_finite, check_header

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FIELDS: Fields = {
    "source": str,
    "fingerprint": str,
    "tokenizer": str,
    "requirement": str,
    "depth": (int, type(None)),
}


class SharedEncoder:
    """An encoder that is never run: copies of it are, which have its weights in common.

    pretrained (Pretrained): From the source. It belongs to this object.
    """

    def __init__(self, pretrained: Pretrained) -> None:
        module: nn.Module = pretrained.transformer
        module.to(get_torch_default_device())
        self.pretrained = pretrained
        self._tokenizers: dict[bool, Tokenizer] = {}

    def copy(self, special_tokens: bool) -> Pretrained:
        """RETURNS (Pretrained): Modules and parameters of its own, and the same memory for the weights."""
        whole = self.pretrained.transformer
        memo = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in whole.parameters()}
        transformer: PreTrainedModel = copy.deepcopy(whole, memo)
        return replace(self.pretrained, transformer=transformer, tokenizer=self._tokenizer(special_tokens))

    def _tokenizer(self, special_tokens: bool) -> Tokenizer:
        """Each setting has its own, since a tokenizer keeps it."""
        if special_tokens not in self._tokenizers:
            own = self.pretrained.tokenizer
            self._tokenizers[special_tokens] = Tokenizer.from_str(own.to_str()) if self._tokenizers else own
        return self._tokenizers[special_tokens]


# An encoder stays as long as a pipeline has a copy of it.
_LIVING: "weakref.WeakValueDictionary[tuple[str, str, str], SharedEncoder]" = weakref.WeakValueDictionary()
_LOCK = threading.RLock()


def shared_encoder(base: Base, source: str) -> SharedEncoder:
    """The encoder of a base: read when its first delta is loaded. It is known by its fingerprint, not by its name.

    source (str): Where to look for it.
    RAISES (ValueError): When it is not there, or is another.
    """
    key = (base.fingerprint, base.tokenizer, str(get_torch_default_device()))
    with _LOCK:
        found = _LIVING.get(key)
        if found is None:
            found = SharedEncoder(_read(base, source))
            _LIVING[key] = found
    return found


def _read(base: Base, source: str) -> Pretrained:
    find_base(base, source)
    pretrained = read_source(source, base.depth, download=may_download())
    if pretrained.fingerprint != base.fingerprint:
        problem = f"other weights are there now (fingerprint {pretrained.fingerprint[:12]})"
        raise ValueError(missing(base, source, problem))
    return pretrained


def read_base(state: bytes) -> Base | None:
    """RETURNS (Optional[Base]): What safetensors of a delta say of their base; None if they are no delta's.

    RAISES (ValueError): When the header is damaged.
    """
    found = read_header(state).get("base")
    if found is None:
        return None
    check_header(found, _FIELDS, "base")
    return Base(**{key: found[key] for key in _FIELDS})


def rebuild_delta(
    state: bytes, prefix: str, shared: SharedEncoder, special_tokens: bool
) -> tuple[Pretrained, Config | None, dict[str, Tensor]]:
    """As `rebuild` in pretrained.py, with the base's weights where the delta has none of its own.

    state (bytes): safetensors of the delta.
    special_tokens (bool): The setting of that name.
    """
    parts, tensors = read_header(state), read_state(state)
    check_finite(tensors.items(), "The saved delta")
    pretrained = shared.copy(special_tokens)
    put_changed(
        pretrained.transformer,
        {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)},
    )
    pretrained.steps = parts["steps"]
    return pretrained, parts["adapter"], tensors


def put_changed(transformer: nn.Module, changed: dict[str, Tensor]) -> None:
    """Give a copy weights of its own, in place of shared ones.

    RAISES (ValueError): When the encoder has none of that name, or of that shape.
    """
    state, parameters = transformer.state_dict(), dict(transformer.named_parameters(remove_duplicate=False))
    unexpected = sorted(set(changed) - set(state))
    shapes = sorted(name for name in set(changed) & set(state) if changed[name].shape != state[name].shape)
    if unexpected or shapes:
        raise ValueError(Errors.T102.format(missing=[], unexpected=unexpected, shapes=shapes))
    for name, tensor in changed.items():
        if name in parameters:
            parameters[name].data = tensor.to(parameters[name].device)
        else:
            state[name].copy_(tensor)


def own_weights(module: nn.Module) -> None:
    """Give a module its own copy of all weights, before one of them changes in place."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
