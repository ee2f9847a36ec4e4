"""The parameters of a pipeline, by name: COMPONENT.path.parameter."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from thinc.api import Model, Optimizer
from thinc.shims import Shim

from ..backbones.own_backbone import OwnBackboneAttrs
from ..backbones.shims.parameter import Parameter, TorchParameter, node_parameters, shim_parameters
from ..backbones.shims.thinc_tuning import LayersShim
from ..backbones.shims.thinc_weights import COMBINES
from ..tuning.torch_optimizer import TorchOptimizer
from ..types import AnyModel, Pipe


@dataclass(frozen=True)
class NamedParameter:
    """One parameter of a component, and what it is called.

    is_frozen (bool): Whether it is frozen, whatever the tuning.
    tuner (Union[Model, Shim]): The shim whose tuning counts for it, or else its owner.
    """

    component: str
    name: str
    parameter: Parameter
    is_frozen: bool
    tuner: AnyModel | Shim
    tuned_name: str

    @property
    def is_torch(self) -> bool:
        """RETURNS (bool): Whether a module of torch holds it."""
        return isinstance(self.parameter, TorchParameter)

    def has_stepped(self, optimizer: Optimizer) -> bool:
        """RETURNS (bool): Whether an optimizer has stepped it before."""
        if isinstance(optimizer, TorchOptimizer):
            return optimizer.has_met(self.parameter.key, is_torch=self.is_torch)
        return self.parameter.key in optimizer.nr_update


def parameters_of(component: str, pipe: object) -> list[NamedParameter]:
    """All parameters of a component, in Thinc's nodes and in torch's modules.

    pipe (Pipe): The component. One without a model has no parameters.
    RETURNS (List[NamedParameter]): Those that exist so far: before `initialize` there may be none.
    """
    model = getattr(pipe, "model", None)
    return parameters_in(component, model) if isinstance(model, Model) else []


def parameters_in(component: str, model: Model) -> list[NamedParameter]:
    """All parameters of a model.

    RETURNS (List[NamedParameter]): Those that exist so far.
    """
    found: list[NamedParameter] = []
    claimed: set[int] = set()
    for node, path, is_frozen in _paths(component, model):
        for shim in node.shims:
            # A component that is nothing but one module says its name only: "transfer_backbone.encoder.layer.0".
            owner = getattr(shim, "called", "") or (component if node is model else path)
            if isinstance(shim, LayersShim):
                shim.bind(node)
                for name, weight in shim.weights.items():
                    own = is_frozen or weight.is_frozen
                    found.append(NamedParameter(component, f"{owner}.{name}", weight.parameter, own, shim, name))
                claimed |= {id(weight.parameter.owner) for weight in shim.weights.values()}
            elif id(shim) not in claimed:
                for p in shim_parameters(shim):
                    found.append(NamedParameter(component, f"{owner}.{p.own_name}", p, is_frozen, shim, p.own_name))
        if id(node) not in claimed:
            for q in node_parameters(node):
                found.append(NamedParameter(component, f"{path}.{q.own_name}", q, is_frozen, node, q.own_name))
    return found


def register_names(optimizer: Optimizer, pipes: Iterable[tuple[str, Pipe]]) -> None:
    """Give the names of parameters to an optimizer that finds groups by names.

    optimizer (Optimizer): One of ours; another is left alone.
    """
    learn_names = getattr(optimizer, "learn_names", None)
    if learn_names is None:
        return
    nodes: dict[int, str] = {}
    shims: dict[int, str] = {}
    names = []
    for component, pipe in pipes:
        for named in parameters_of(component, pipe):
            owners = shims if named.is_torch else nodes
            owners[named.parameter.owner.id] = named.name[: -len(named.parameter.own_name) - 1]
            names.append(named.name)
    learn_names(nodes=nodes, shims=shims, parameters=names)


def _paths(component: str, model: Model) -> Iterator[tuple[Model, str, bool]]:
    """Nodes that hold something, with paths; nodes that would have one path are numbered."""
    found = [(n, p, s) for n, p, s in _walk(model, f"{component}.model", False, set()) if n.param_names or n.shims]
    total, seen = Counter(path for _, path, _ in found), Counter[str]()
    for node, path, is_frozen in found:
        yield node, f"{path}.{seen[path]}" if total[path] > 1 else path, is_frozen
        seen[path] += 1


def _walk(node: Model, path: str, is_frozen: bool, seen: set[int]) -> Iterator[tuple[Model, str, bool]]:
    if node.id in seen:
        return
    seen.add(node.id)
    is_frozen = is_frozen or OwnBackboneAttrs.of(node).frozen
    yield node, path, is_frozen
    for layer in node.layers:
        below = path if COMBINES.search(layer.name) else f"{path}.{layer.name}"
        yield from _walk(layer, below, is_frozen, seen)


def drop_gradients(pipe: object) -> None:
    """Drop all gradients of a component for the next step."""
    steps = getattr(pipe, "steps", None)
    if steps is not None:
        steps.forget()
    for named in parameters_of("", pipe):
        named.parameter.clear_gradient()


def flush(pipe: object) -> None:
    """Do the backward pass of a `transfer_backbone` at once, for what its heads have sent, and not at its step."""
    steps = getattr(pipe, "steps", None)
    if steps is not None and steps.pending is not None and steps.pending.has_arrived:
        steps.flush()


def has_weights(pipe: object) -> bool:
    """RETURNS (bool): Whether a component has a model of Thinc."""
    return isinstance(getattr(pipe, "model", None), Model)
