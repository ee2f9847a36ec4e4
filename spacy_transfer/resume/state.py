"""The state of a training between two steps as arrays and JSON: weights, gradients, optimizer, what components keep.

Everything is found by the names of parameters, COMPONENT.path.parameter: ids of nodes and shims change with every
process.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeAlias, cast

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from thinc.api import Model, Optimizer, to_numpy
from thinc.backends import get_array_ops
from thinc.util import is_torch_array, torch2xp

from .._compat import grad_scaler_state, set_grad_scaler_state
from ..backbones.shims.parameter import Parameter, TorchParameter
from ..errors import Errors
from ..pipeline.parameters import parameters_of
from ..tuning.torch_optimizer import Place, TorchOptimizer
from ..types import Config

Arrays: TypeAlias = dict[str, NDArray[Any]]
Parts: TypeAlias = Sequence[tuple[str, Any]]
_MOMENTS = ("mom1", "mom2", "averages")
_COUNTS = ("nr_update", "last_seen")


class HasState(Protocol):
    """A component or shim that keeps more than its weights while it is trained."""

    def training_state(self) -> Config: ...

    def set_training_state(self, state: Config) -> None: ...


@dataclass
class State:
    """`arrays` and `values` (for JSON) of one moment."""

    arrays: Arrays
    values: Config


class Keeper:
    """Takes and sets the state of a pipeline in training. Weights that are as they were at the start are not taken.

    keeps_all (bool): Take all weights: they would not be the same at another start.
    parts (Optional[Sequence[Tuple[str, Any]]]): What is trained, if it is not the components of the pipeline: named
        objects that have a `model`.
    """

    def __init__(self, nlp: Language, keeps_all: bool, parts: Parts | None = None) -> None:
        self._nlp, self._own_parts = nlp, parts
        self._n_strings = len(nlp.vocab.strings)
        self._same = {} if keeps_all else {name: _digest(value) for name, value in _weights(self._parts)}

    @property
    def _parts(self) -> Parts:
        return self._nlp.components if self._own_parts is None else self._own_parts

    @property
    def unchanged(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): Checksums of the weights that had not changed at the last `take`, by name."""
        return self._same

    def take(self, optimizer: Optimizer) -> State:
        """RETURNS (State): The state. Arrays are copied only where a GPU holds them."""
        arrays: Arrays = {}
        for name, value in _weights(self._parts):
            array = _to_array(value)
            if name in self._same and self._same[name] != _digest(array):
                del self._same[name]
            if name not in self._same:
                arrays[f"weights.{name}"] = array
        zeros = []
        for name, parameter in _parameters(self._parts).items():
            gradient = parameter.raw_gradient
            if gradient is not None and not bool(gradient.any()):
                zeros.append(name)
            elif gradient is not None:
                arrays[f"gradient.{name}"] = _to_array(gradient)
        found = _take_optimizer(optimizer, _parameters(self._parts))
        owners = {place: owner.training_state() for place, owner in _owners(self._parts)}
        strings = list(islice(self._nlp.vocab.strings, self._n_strings, None))
        values = {
            "unchanged": self._same,
            "zeros": zeros,
            "optimizer": found.values,
            "owners": owners,
            "scalers": {p: {k: v.tolist() for k, v in grad_scaler_state(s).items()} for p, s in _shims(self._parts)},
            "attributes": {place: _plain(node) for place, node in _nodes(self._parts)},
            "strings": strings,
            "performance": self._nlp.meta.get("performance"),
        }
        return State(arrays | found.arrays, values)

    def set(self, state: State, optimizer: Optimizer) -> None:
        """Set a state that `take` gave in another process.

        RAISES (ValueError): When it is that of another pipeline. Nothing has changed then.
        """
        own, given = dict(_weights(self._parts)), _under("weights.", state.arrays)
        for name, array in given.items():
            shape = tuple(own[name].shape) if name in own else None
            if shape != array.shape:
                raise ValueError(Errors.T946.format(name=name, found=shape, saved=array.shape))
        for name, array in given.items():
            _put(own[name], array)
        self._same = {name: digest for name, digest in self._same.items() if name not in given}
        parameters = _parameters(self._parts)
        for name in state.values["zeros"]:
            parameters[name].set_gradient(cast(Any, parameters[name].value) * 0)
        for name, array in _under("gradient.", state.arrays).items():
            parameters[name].set_gradient(_like(parameters[name].value, array))
        _set_optimizer(optimizer, State(state.arrays, state.values["optimizer"]), parameters)
        for place, owner in _owners(self._parts):
            if place in state.values["owners"]:
                owner.set_training_state(state.values["owners"][place])
        for place, shim in _shims(self._parts):
            saved = state.values["scalers"].get(place, {})
            now = grad_scaler_state(shim)
            set_grad_scaler_state(shim, {k: now[k].new_tensor(value) for k, value in saved.items() if k in now})
        for place, node in _nodes(self._parts):
            node.attrs.update(state.values["attributes"].get(place, {}))
        for string in state.values["strings"]:
            self._nlp.vocab.strings.add(string)
        if state.values["performance"] is not None:
            self._nlp.meta["performance"] = state.values["performance"]


# Weights


def _parameters(parts: Parts) -> dict[str, Parameter]:
    return {p.name: p.parameter for name, pipe in parts for p in parameters_of(name, pipe)}


def _weights(parts: Parts) -> Iterator[tuple[str, Any]]:
    """All parameters, and the buffers of torch's modules: arrays or tensors, not copied."""
    for name, parameter in _parameters(parts).items():
        yield name, parameter.value
    for place, shim in _shims(parts):
        named_buffers = getattr(getattr(shim, "_model", None), "named_buffers", None)
        for name, buffer in () if named_buffers is None else named_buffers():
            yield f"{place}.buffer.{name}", buffer


def _nodes(parts: Parts) -> Iterator[tuple[str, Model]]:
    for name, pipe in parts:
        model = getattr(pipe, "model", None)
        for i, node in enumerate(model.walk() if isinstance(model, Model) else ()):
            yield f"{name}.{i}", node


def _shims(parts: Parts) -> Iterator[tuple[str, object]]:
    for place, node in _nodes(parts):
        for i, shim in enumerate(node.shims):
            yield f"{place}.{i}", shim


def _owners(parts: Parts) -> Iterator[tuple[str, HasState]]:
    for place, owner in (*parts, *_shims(parts)):
        if hasattr(owner, "training_state"):
            yield place, cast(HasState, owner)


def _plain(node: Model) -> Config:
    """Attributes such as the rate of dropout are saved with a model."""
    return {name: value for name, value in node.attrs.items() if isinstance(value, (bool, int, float, str))}


def _to_array(value: Any) -> NDArray[Any]:
    """An array of NumPy that shares the memory, on the CPU. NumPy has no bfloat16: its bits are kept."""
    if not is_torch_array(value):
        return to_numpy(value)
    tensor = value.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        import torch

        tensor = tensor.view(torch.int16)
    return tensor.numpy()


def _put(target: Any, array: NDArray[Any]) -> None:
    """Overwrite an array or tensor in place."""
    if is_torch_array(target):
        target.detach().copy_(_like(target, array))
    else:
        target[...] = _like(target, array)


def _like(target: Any, array: NDArray[Any]) -> Any:
    """An array as the library and device of another one have it."""
    if not is_torch_array(target):
        return get_array_ops(target).asarray(array.copy())
    import torch

    tensor = torch.from_numpy(array.copy())
    tensor = tensor.view(torch.bfloat16) if target.dtype == torch.bfloat16 else tensor
    return tensor.to(target.device)


def _beside(target: Any, array: NDArray[Any]) -> Any:
    """An array of NumPy or CuPy on the device of an array or tensor."""
    if not is_torch_array(target):
        return _like(target, array)
    import torch

    return torch2xp(torch.from_numpy(array.copy()).to(target.device))


def _digest(value: Any) -> str:
    array = numpy.ascontiguousarray(_to_array(value))
    return hashlib.sha256(array.reshape(-1).view("uint8").data).hexdigest() if array.size else ""


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


# The optimizer


def _places(parameters: Mapping[str, Parameter]) -> dict[Place, str]:
    return {(*p.key, isinstance(p, TorchParameter)): name for name, p in parameters.items()}


def _name_of(names: Mapping[Place, str], key: tuple[int, str]) -> str | None:
    """Thinc's keys do not say whether they are of a node or of a shim."""
    return names.get((*key, False)) or names.get((*key, True))


def _take_optimizer(optimizer: Optimizer, parameters: Mapping[str, Parameter]) -> State:
    names = _places(parameters)
    arrays: Arrays = {}
    values: Config = {}
    for kind in _MOMENTS:
        for key, array in (getattr(optimizer, kind) or {}).items():
            name = _name_of(names, key)
            if name is not None:
                arrays[f"{kind}.{name}"] = _to_array(array)
    for kind in _COUNTS:
        counts = {_name_of(names, key): count for key, count in getattr(optimizer, kind).items()}
        values[kind] = {name: count for name, count in counts.items() if name is not None}
    if isinstance(optimizer, TorchOptimizer):
        values["steps"], values["torch"] = optimizer.steps, {}
        for place, remembered in optimizer.torch_states().items():
            name, numbers = names[place], {}
            for key, value in remembered.items():
                if is_torch_array(value):
                    arrays[f"torch.{key}/{name}"] = _to_array(value)
                else:
                    numbers[key] = value
            values["torch"][name] = numbers
    return State(arrays, values)


def _set_optimizer(optimizer: Optimizer, state: State, parameters: Mapping[str, Parameter]) -> None:
    for kind in _MOMENTS:
        own = getattr(optimizer, kind)
        if own is not None:
            own.clear()
            for name, array in _under(f"{kind}.", state.arrays).items():
                own[parameters[name].key] = _beside(parameters[name].value, array)
    for kind in _COUNTS:
        own = getattr(optimizer, kind)
        own.clear()
        own.update({parameters[name].key: count for name, count in state.values[kind].items()})
    if isinstance(optimizer, TorchOptimizer):
        import torch

        remembered: dict[str, Config] = {name: dict(numbers) for name, numbers in state.values["torch"].items()}
        for path, array in _under("torch.", state.arrays).items():
            key, _, name = path.partition("/")
            remembered[name][key] = torch.from_numpy(array.copy())
        places = {name: place for place, name in _places(parameters).items()}
        states = {places[name]: found for name, found in remembered.items()}
        optimizer.set_torch_states(states, state.values["steps"])
