"""The parameters of Thinc's layers one by one, under names that a tuning understands: embeddings.X, layer.0.X, ..."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from thinc.api import Model
from thinc.util import torch2xp, xp2torch

from .._compat import drop_gradient
from ..tuning.anchors import pull_of
from .shim import step_parameter

# Thinc names what combines layers after them: "softmax>>dropout", "with_array(softmax)". A path goes through them.
COMBINES = re.compile(r">>|[|+(]")


@dataclass(frozen=True)
class Weight:
    """One parameter of a node.

    owner (Model): The node.
    own_name (str): Its name there.
    part (int): In which part of the backbone it stands, counted from below.
    block (Model): The layer, with all its nodes.
    is_still (bool): Whether it never gets a gradient, whatever the tuning.
    """

    owner: Any
    own_name: str
    part: int
    block: Model
    is_still: bool = False

    @property
    def value(self) -> Any:
        return self.owner.get_param(self.own_name)

    @property
    def size(self) -> int:
        return int(self.value.size)

    @property
    def has_gradient(self) -> bool:
        return self.owner.has_grad(self.own_name)

    def drop_gradient(self) -> None:
        """Take the gradient away: one that is kept, though zero, would still move its parameter by momentum and
        decay."""
        drop_gradient(self.owner, self.own_name)

    def pull(self, origin: Any, strength: float) -> None:
        """Add strength * (weights - origin) to the gradient."""
        self.owner.inc_grad(self.own_name, pull_of(self.value, origin, strength))

    def step(self, optimizer: Any, scale: float) -> None:
        """Step once with the gradient, and take it away.

        optimizer (Optimizer): The optimizer.
        scale (float): Factor on the rate.
        """
        node, name = self.owner, self.own_name
        changed, _ = optimizer((node.id, name), node.get_param(name), node.get_grad(name), lr_scale=scale)
        node.set_param(name, changed)
        self.drop_gradient()


@dataclass(frozen=True)
class TorchWeight(Weight):
    """One parameter of a torch module; the owner is its shim."""

    @property
    def parameter(self) -> Any:
        return self.owner._model.get_parameter(self.own_name)

    @property
    def value(self) -> Any:
        return torch2xp(self.parameter.detach())

    @property
    def has_gradient(self) -> bool:
        return self.parameter.grad is not None

    def drop_gradient(self) -> None:
        self.parameter.grad = None

    def pull(self, origin: Any, strength: float) -> None:
        parameter = self.parameter
        origin = xp2torch(origin, device=parameter.device)
        parameter.grad.add_(pull_of(parameter.detach(), origin, strength))

    def step(self, optimizer: Any, scale: float) -> None:
        step_parameter(optimizer, (self.owner.id, self.own_name), self.parameter, scale)


def find_weights(embeddings: Sequence[Model], rest: Sequence[Model]) -> dict[str, Weight]:
    """Names for all parameters: "embeddings.X" for the lowest parts, and "layer.i.X" for what comes after them, a
    block each. X is the path of nodes inside the block, and the parameter's own name: "layer.0.maxout.W".

    embeddings (Sequence[Model]): Parts that embed.
    rest (Sequence[Model]): The parts after them, in the order in which rows go through them.
    RETURNS (Dict[str, Weight]): Parameters that exist so far, by name.
    """
    blocks = [("embeddings", part, model) for part, model in enumerate(embeddings)]
    above = [(part, block) for part, model in enumerate(rest, len(embeddings)) for block in _blocks(model)]
    blocks += [(f"layer.{i}", part, block) for i, (part, block) in enumerate(above)]
    found: dict[str, Weight] = {}
    for prefix, part, block in blocks:
        nodes = [(node, path) for node, path in _nodes(block, prefix, set()) if node.param_names or node.shims]
        total, seen = Counter(path for _, path in nodes), Counter[str]()
        for node, path in nodes:
            owner = f"{path}.{seen[path]}" if total[path] > 1 else path
            seen[path] += 1
            found |= {f"{owner}.{weight.own_name}": weight for weight in _weights(node, part, block)}
    return found


def _blocks(model: Model) -> Iterator[Model]:
    """What hands rows on is opened: chains, and wrappers of one layer. A residual connection is a block."""
    if len(model.layers) == 1:
        is_open = not model.name.startswith("residual(")
    else:
        is_open = ">>" in model.name and not re.search(r"[|+]", model.name)
    if is_open and model.layers and not model.param_names and not model.shims:
        for layer in model.layers:
            yield from _blocks(layer)
    elif any(node.param_names or node.shims for node in model.walk()):
        yield model


def _nodes(node: Model, path: str, seen: set[int]) -> Iterator[tuple[Model, str]]:
    if node.id in seen:
        return
    seen.add(node.id)
    yield node, path
    for layer in node.layers:
        below = path if COMBINES.search(layer.name) else f"{path}.{layer.name}"
        yield from _nodes(layer, below, seen)


def _weights(node: Model, part: int, block: Model) -> Iterator[Weight]:
    for name in node.param_names:
        if node.has_param(name):
            yield Weight(node, name, part, block, node.attrs.get("finetune") is False)
    for shim in cast(Any, node.shims):
        named_parameters = getattr(getattr(shim, "_model", None), "named_parameters", None)
        for name, _ in [] if named_parameters is None else named_parameters():
            yield TorchWeight(shim, name, part, block)
