"""What the parameters of a pipeline are called: COMPONENT.path.parameter."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from thinc.api import Model

from ..backbones.layers import LayersShim
from ..backbones.weights import COMBINES


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component.

    component (str): Name of the component.
    name (str): COMPONENT.path.parameter.
    own_name (str): Its name in its node or shim.
    owner (Any): The node or shim.
    size (int): How many numbers it holds.
    is_still (bool): Whether it is known that it never gets a gradient, whatever the tuning.
    tuner (Any): The shim whose tuning counts for it, or else its owner.
    tuned_name (str): Its name there.
    """

    component: str
    name: str
    own_name: str
    owner: Any
    size: int
    is_still: bool
    tuner: Any
    tuned_name: str

    @property
    def is_torch(self) -> bool:
        return not isinstance(self.owner, Model)


def parameters_of(component: str, pipe: Any) -> list[Parameter]:
    """All parameters of a component, in Thinc's nodes and in torch's modules.

    component (str): Name of the component.
    pipe (Any): The component. One without a model has no parameters.
    RETURNS (List[Parameter]): Those that exist so far: before `initialize` there may be none.
    """
    model = getattr(pipe, "model", None)
    if not isinstance(model, Model):
        return []
    found: list[Parameter] = []
    claimed: set[int] = set()
    for node, path, is_still in _paths(component, model):
        for shim in node.shims:
            # A component that is nothing but one module says its name only: "transfer_backbone.encoder.layer.0".
            owner = getattr(shim, "called", "") or (component if node is model else path)
            if isinstance(shim, LayersShim):
                shim.bind(node)
                found += [
                    Parameter(
                        component, f"{owner}.{name}", w.own_name, w.owner, w.size, is_still or w.is_still, shim, name
                    )
                    for name, w in shim.weights.items()
                ]
                claimed |= {id(weight.owner) for weight in shim.weights.values()}
            elif id(shim) not in claimed:
                found += [
                    Parameter(component, f"{owner}.{name}", name, shim, tensor.numel(), is_still, shim, name)
                    for name, tensor in _torch_parameters(shim)
                ]
        found += [
            Parameter(component, f"{path}.{name}", name, node, int(node.get_param(name).size), is_still, node, name)
            for name in node.param_names
            if node.has_param(name) and id(node) not in claimed
        ]
    return found


def teach(optimizer: Any, pipes: Iterable[tuple[str, Any]]) -> None:
    """Tell an optimizer that finds groups by names what the parameters are called.

    optimizer (Optimizer): One of ours; another is left alone.
    pipes (Iterable[Tuple[str, Any]]): Names and components.
    """
    learn_names = getattr(optimizer, "learn_names", None)
    if learn_names is None:
        return
    nodes: dict[int, str] = {}
    shims: dict[int, str] = {}
    names = []
    for component, pipe in pipes:
        for parameter in parameters_of(component, pipe):
            owners = shims if parameter.is_torch else nodes
            owners[parameter.owner.id] = parameter.name[: -len(parameter.own_name) - 1]
            names.append(parameter.name)
    learn_names(nodes=nodes, shims=shims, parameters=names)


def _paths(component: str, model: Model) -> Iterator[tuple[Model, str, bool]]:
    """Nodes that hold something, with paths; nodes that would have one path are numbered."""
    found = [(n, p, s) for n, p, s in _walk(model, f"{component}.model", False, set()) if n.param_names or n.shims]
    total, seen = Counter(path for _, path, _ in found), Counter[str]()
    for node, path, is_still in found:
        yield node, f"{path}.{seen[path]}" if total[path] > 1 else path, is_still
        seen[path] += 1


def _walk(node: Model, path: str, is_still: bool, seen: set[int]) -> Iterator[tuple[Model, str, bool]]:
    if node.id in seen:
        return
    seen.add(node.id)
    is_still = is_still or node.attrs.get("frozen") is True
    yield node, path, is_still
    for layer in node.layers:
        below = path if COMBINES.search(layer.name) else f"{path}.{layer.name}"
        yield from _walk(layer, below, is_still, seen)


def _torch_parameters(shim: Any) -> list[tuple[str, Any]]:
    named_parameters = getattr(getattr(shim, "_model", None), "named_parameters", None)
    return [] if named_parameters is None else list(named_parameters())
