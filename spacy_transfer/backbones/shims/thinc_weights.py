"""The parameters of Thinc's layers one by one, under names that a tuning understands: embeddings.X, layer.0.X, ..."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thinc.api import Model

from ..._compat import drop_gradient
from ...attributes import Attrs
from .parameter import Parameter, node_parameters, shim_parameters

# Thinc names what combines layers after them: "softmax>>dropout", "with_array(softmax)". A path goes through them.
COMBINES = re.compile(r">>|[|+(]")


@dataclass(kw_only=True)
class FinetuneAttrs(Attrs):
    """Of nodes that say by themselves whether they are trained."""

    finetune: bool = True


@dataclass(frozen=True)
class Weight:
    """One parameter of the layers.

    part (int): In which part of the backbone it stands, counted from below.
    block (Model): The layer, with all its nodes.
    is_frozen (bool): Whether it never gets a gradient, whatever the tuning.
    """

    parameter: Parameter
    part: int
    block: Model
    is_frozen: bool = False


def find_weights(embeddings: Sequence[Model], rest: Sequence[Model]) -> dict[str, Weight]:
    """Names for all parameters: "embeddings.X" for the lowest parts, and "layer.i.X" for what comes after them, a
    block each. X is the path of nodes inside the block, and the parameter's own name: "layer.0.maxout.W".

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
            found |= {f"{owner}.{weight.parameter.own_name}": weight for weight in _weights(node, part, block)}
    return found


def forget_weights(model: Model) -> None:
    """Remove the parameters of all nodes, and their gradients, before they are initialised anew."""
    for node in model.walk():
        for name in node.param_names:
            node.set_param(name, None)
            drop_gradient(node, name)


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
    is_frozen = not FinetuneAttrs.of(node).finetune
    yield from (Weight(parameter, part, block, is_frozen) for parameter in node_parameters(node))
    for shim in node.shims:
        yield from (Weight(parameter, part, block) for parameter in shim_parameters(shim))
