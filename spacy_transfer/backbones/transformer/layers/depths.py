"""The depth of an encoder's parameters: below its layers, in one of them, or above."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ....tuning.policy import Depths, is_embedding
from ..probes import run, sample, undisturbed, with_gradients
from .module_tree import find_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def find_depths(transformer: "PreTrainedModel", prefix: str = "") -> Depths:
    """The depth of each parameter and module. Depth 0 is everything that the first layer is computed from.

    transformer (nn.Module): An encoder of transformers, with or without an adapter.
    RETURNS (Depths): The depths; empty where layers cannot be told apart from the rest.
    """
    layers = find_layers(transformer)
    if layers is None:
        return Depths(0, {})
    trace = _trace(transformer, transformer.get_submodule(f"{layers.paths[0]}.0"))
    if not trace.below:
        return Depths(0, {})
    found = {prefix + name: 0 for name, part in transformer.named_modules() if id(part) in trace.early}
    for name, parameter in transformer.named_parameters():
        # A table of which this pass read nothing (entities in LUKE) is an embedding all the same.
        is_unread = id(parameter) not in trace.used
        is_table = isinstance(transformer.get_submodule(name.rpartition(".")[0]), nn.Embedding)
        if id(parameter) in trace.below or (is_unread and (is_table or is_embedding(name))):
            found[prefix + name] = 0
    found |= {f"{prefix}{path}.{i}": i + 1 for path in layers.paths for i in range(layers.count)}
    return Depths(layers.count, found)


@dataclass(frozen=True)
class _Trace:
    """One pass through an encoder.

    below (Set[int]): Ids of the parameters that the first layer is computed from.
    used (Set[int]): Ids of the parameters that the last states are computed from.
    early (Set[int]): Ids of the modules without parameters (such as dropout) that were called before the first layer.
    """

    below: set[int]
    used: set[int]
    early: set[int]


def _trace(transformer: "PreTrainedModel", first: nn.Module) -> _Trace:
    below: set[int] = set()
    early: set[int] = set()
    inside = set(first.modules())
    has_begun: list[bool] = []

    def before(module: nn.Module, args: tuple, kwargs: dict[str, object]) -> None:
        if module in inside and not has_begun:
            has_begun.append(True)
            below.update(_leaves([*args, *kwargs.values()]))
        elif not has_begun and next(module.parameters(), None) is None:
            early.add(id(module))

    handles = [part.register_forward_pre_hook(before, with_kwargs=True) for part in transformer.modules()]
    try:
        with undisturbed(transformer), with_gradients(transformer):
            used = _leaves([run(transformer, sample(transformer, [6]))])
    finally:
        for handle in handles:
            handle.remove()
    return _Trace(below & {id(parameter) for parameter in transformer.parameters()}, used, early)


def _leaves(values: list[object]) -> set[int]:
    """Ids of the parameters that tensors are computed from, found in torch's graph. No gradient is computed."""
    ids: set[int] = set()
    queue, seen = list(values), set()
    while queue:
        value = queue.pop()
        if isinstance(value, (tuple, list)):
            queue += value
        elif isinstance(value, Tensor):
            # A parameter that is passed to the layers directly is not in the graph.
            ids |= {id(value)} if value.grad_fn is None else set()
            queue.append(value.grad_fn)
        elif hasattr(value, "next_functions") and value not in seen:
            seen.add(value)
            ids |= {id(value.variable)} if hasattr(value, "variable") else set()
            queue += [function for function, _ in value.next_functions]
    return ids
