"""A torch shim whose saved state is safetensors: nothing in it can run code when it is read."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from spacy.util import SimpleFrozenDict
from thinc.api import Optimizer, PyTorchShim
from thinc.shims import Shim
from thinc.types import FloatsXd
from thinc.util import get_torch_default_device, torch2xp

from ...errors import Errors
from .aligned_memory import as_tensor

if TYPE_CHECKING:
    import torch


class SafetensorsShim(PyTorchShim):
    """Thinc's PyTorchShim, saved as safetensors instead of a pickle.

    Four more differences: a copy has its own id (otherwise both share the optimizer's moments); averaged weights are
    loaded into the torch parameters (Thinc looks them up under other keys than those of its optimizer); a parameter
    without gradient does not change; gradients are removed after the step.
    """

    # Attributes of one training, which copies do not get.
    not_copied: tuple[str, ...] = ()
    # Whether its backward pass reads `is_graph_kept`.
    keeps_graph = True

    def to_bytes(self) -> bytes:
        return dump_state(self._model)

    def from_bytes(self, bytes_data: bytes) -> "SafetensorsShim":
        """Load a state into the module this shim holds. Names and shapes must be the module's own."""
        load_state(self._model, bytes_data)
        self._model.to(get_torch_default_device())
        return self

    def copy(self) -> "SafetensorsShim":
        """RETURNS (SafetensorsShim): A deep copy with its own id."""
        copied = super().copy()
        with Shim.global_id_lock:
            Shim.global_id += 1
            copied.id = Shim.global_id
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {name: None if name in self.not_copied else value for name, value in vars(self).items()}

    def __deepcopy__(self, memo: dict) -> "SafetensorsShim":
        import copy

        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        for name, value in self.__getstate__().items():
            is_lock = isinstance(value, type(threading.Lock()))  # These cannot be copied.
            setattr(copied, name, threading.Lock() if is_lock else copy.deepcopy(value, memo))
        return copied

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step every parameter that has a gradient, and remove the gradient."""
        step_parameters(optimizer, self.id, parameters_with_gradient(self._model))

    @contextlib.contextmanager
    def use_params(self, params: dict) -> Iterator[None]:
        """Within, use the parameters of this shim in `params`, by keys `(shim.id, name)`."""
        own: dict[str, torch.Tensor] = {}
        named = {} if self._model is None else dict(self._model.named_parameters())
        try:
            for key, value in params.items():
                if isinstance(key, tuple) and key[0] == self.id and key[1] in named:
                    param = named[key[1]]
                    own[key[1]] = param.data
                    param.data = as_tensor(value, param.device).reshape(param.shape).to(param.dtype)
                    note_change(param)
            yield
        finally:
            for name, data in own.items():
                named[name].data = data
                note_change(named[name])


def note_change(parameter: "torch.nn.Parameter") -> None:
    """Count a change of which torch does not know: of memory that is NumPy's too, or of `parameter.data`. What was made
    from the parameter is known to be old by this count."""
    import torch

    torch.autograd.graph.increment_version(parameter)


def parameters_with_gradient(module: "torch.nn.Module") -> "dict[str, torch.nn.Parameter]":
    """RETURNS (Dict[str, torch.nn.Parameter]): The parameters of a module that have a gradient, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.grad is not None}


def step_parameters(
    optimizer: Optimizer,
    shim: int,
    parameters: "Mapping[str, torch.nn.Parameter]",
    scales: Mapping[str, float] = SimpleFrozenDict(),
) -> None:
    """Step torch parameters with their gradients, and remove these. Our optimizers take torch parameters directly.

    shim (int): Its id.
    parameters (Mapping[str, torch.nn.Parameter]): By name.
    scales (Mapping[str, float]): Factors on their rates, by name; 1 for others.
    """
    collect = getattr(optimizer, "collect", None)
    if collect is not None:
        collect(shim, parameters, scales)
        return
    for name, parameter in parameters.items():
        scale = scales.get(name, 1.0)
        if scale != 1.0 and getattr(optimizer, "use_radam", False):
            raise ValueError(Errors.T618)
        value, gradient = torch2xp(parameter.data), torch2xp(cast("torch.Tensor", parameter.grad))
        changed, _ = optimizer((shim, name), cast(FloatsXd, value), cast(FloatsXd, gradient), lr_scale=scale)
        parameter.data = as_tensor(changed, parameter.device)
        note_change(parameter)
        parameter.grad = None


def dump_state(module: "torch.nn.Module") -> bytes:
    """The parameters and buffers of a module as safetensors. Tied tensors are written once for each name."""
    return dump_tensors(module.state_dict())


def dump_tensors(tensors: "dict[str, torch.Tensor]", metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as safetensors."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    return save(state, metadata=metadata)


def read_state(data: bytes) -> "dict[str, torch.Tensor]":
    """Parse safetensors.

    RAISES (ValueError): When the data are cut short or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(Errors.T101.format(error=error)) from error


def read_metadata(data: bytes) -> dict[str, str]:
    """The metadata in the header of safetensors.

    RETURNS (Dict[str, str]): The metadata, empty if there are none.
    RAISES (ValueError): When the header is cut short or damaged.
    """
    return _read_header(data).get("__metadata__", {})


def read_shapes(data: bytes) -> dict[str, tuple[int, ...]]:
    """RETURNS (Dict[str, Tuple[int, ...]]): The shape of each tensor in safetensors, from the header alone.

    RAISES (ValueError): When the header is cut short or damaged.
    """
    header = _read_header(data)
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def _read_header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    try:
        return json.loads(data[8 : 8 + length])
    except ValueError as error:
        raise ValueError(Errors.T101.format(error=error)) from error


def load_state(module: "torch.nn.Module", data: bytes) -> None:
    """Put saved tensors into a module of the same names and shapes.

    RAISES (ValueError): When names or shapes differ; lists what is missing, unexpected or of another shape.
    """
    load_tensors(module, read_state(data))


def load_tensors(module: "torch.nn.Module", state: "dict[str, torch.Tensor]") -> None:
    """Put tensors into a module of the same names and shapes.

    RAISES (ValueError): When names or shapes differ; lists what is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    missing, unexpected = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shapes = sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape)
    if missing or unexpected or shapes:
        raise ValueError(Errors.T102.format(missing=missing, unexpected=unexpected, shapes=shapes))
    module.load_state_dict(state)
