"""Heads of transformers' classifiers as data: where their arrays lie in a state dict, and what the rows are called."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

import numpy
from thinc.api import Model

from ..errors import Errors
from ..heads.layers import NormAttrs
from ..types import Floats

if TYPE_CHECKING:
    import torch

Task = Literal["sequence", "token"]

SUFFIXES: dict[str, Task] = {"ForSequenceClassification": "sequence", "ForTokenClassification": "token"}


@dataclass(frozen=True)
class Layout:
    """Where a head lies in the state dict of a model.

    output (str): What the names of the output layer begin with.
    dense (Optional[str]): The same of the hidden layer, if there is one.
    activation (str): Of the hidden layer; "config.KEY" for what the model's config says there.
    norm (Optional[str]): The same of a layer norm after it, if there is one.
    epsilon (Optional[float]): Of that; it is filled in.
    document (str): What a head for texts reads: the state of the first piece ("cls"), or the "mean" of all;
        "config.KEY" for what the config says.
    """

    output: str
    dense: str | None = None
    activation: str = "tanh"
    norm: str | None = None
    epsilon: float | None = None
    document: str = "cls"


_ROBERTA = Layout("classifier.out_proj", "classifier.dense")
SEQUENCE_HEADS = {
    "albert": Layout("classifier", "albert.pooler"),
    "bert": Layout("classifier", "bert.pooler.dense"),
    "camembert": _ROBERTA,
    "deberta-v2": Layout("classifier", "pooler.dense", "config.pooler_hidden_act"),
    "distilbert": Layout("classifier", "pre_classifier", "relu"),
    "electra": Layout("classifier.out_proj", "classifier.dense", "gelu"),
    "modernbert": Layout(
        "classifier", "head.dense", "config.classifier_activation", "head.norm", None, "config.classifier_pooling"
    ),
    "mpnet": _ROBERTA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
# ModernBERT's has a hidden layer and a norm, which no token head here has.
TOKEN_HEADS = dict.fromkeys((kind for kind in SEQUENCE_HEADS if kind != "modernbert"), Layout("classifier"))
ACTIVATIONS = ("gelu", "relu", "tanh")


@dataclass(frozen=True)
class HeadWeights:
    """The arrays of a head.

    layers (List[Tuple[Floats2d, Floats1d]]): Weights (n_out, n_in) and biases (n_out,) of the hidden layer, if any,
        and of the output layer.
    norm (Optional[Tuple[Floats1d, Floats1d, float]]): Scale, shift and epsilon of a layer norm after the hidden
        layer.
    """

    layers: list[tuple[Floats, Floats]]
    activation: str | None
    norm: tuple[Floats, Floats, float] | None = None


def find_layout(source: str, model_type: str, task: Task, config: object) -> Layout:
    """The layout of the head that a kind of model has, its activation filled in.

    task (str): "sequence" or "token".
    RAISES (ValueError): When the head is not known, or has an activation that our heads lack.
    """
    known = SEQUENCE_HEADS if task == "sequence" else TOKEN_HEADS
    if model_type not in known:
        raise ValueError(Errors.T384.format(source=source, kind=model_type, known=", ".join(known)))
    layout = known[model_type]
    layout = replace(
        layout,
        activation=_look_up(layout.activation, config),
        document=_look_up(layout.document, config),
        epsilon=None if layout.norm is None else float(_look_up("config.norm_eps", config)),
    )
    if layout.dense is not None and layout.activation not in ACTIVATIONS:
        found = f"{model_type} with a head of activation {layout.activation!r}"
        raise ValueError(Errors.T384.format(source=source, kind=found, known=", ".join(known)))
    return layout


def _look_up(value: str, config: object) -> str:
    return str(getattr(config, value.removeprefix("config."))) if value.startswith("config.") else value


def take_head(state: "Mapping[str, torch.Tensor]", layout: Layout) -> HeadWeights:
    """The head inside a state dict.

    RETURNS (HeadWeights): Copies of its arrays.
    """
    names = [layout.output] if layout.dense is None else [layout.dense, layout.output]
    layers = [_pair(state, name) for name in names]
    norm = None if layout.norm is None else (*_pair(state, layout.norm), layout.epsilon or 0.0)
    return HeadWeights(layers, None if layout.dense is None else layout.activation, norm)


def _pair(state: "Mapping[str, torch.Tensor]", name: str) -> tuple[Floats, Floats]:
    """Weights and biases; some layers have none of these."""
    tensors = [state[key].detach().cpu() for key in (f"{name}.weight", f"{name}.bias") if key in state]
    weight, *bias = (numpy.array(tensor, dtype="f") for tensor in tensors)
    return weight, bias[0] if bias else numpy.zeros(len(weight), dtype="f")


def put_head(weights: HeadWeights, layout: Layout) -> dict[str, Floats]:
    """The reverse of `take_head`.

    layout (Layout): Where they go; it has as many layers.
    RETURNS (Dict[str, FloatsXd]): By the names of the state dict.
    """
    names = [layout.output] if layout.dense is None else [layout.dense, layout.output]
    pairs = list(zip(names, weights.layers, strict=True))
    if layout.norm is not None and weights.norm is not None:
        scale, shift, _ = weights.norm
        name, (weight, bias) = pairs.pop()
        # Their norm has no shift: it goes into the bias of the output layer.
        pairs += [(name, (weight, bias + weight @ shift))]
        return _named(pairs) | {f"{layout.norm}.weight": scale}
    return _named(pairs)


def _named(pairs: Sequence[tuple[str, tuple[Floats, Floats]]]) -> dict[str, Floats]:
    named = {f"{name}.weight": weight for name, (weight, _) in pairs}
    return named | {f"{name}.bias": bias for name, (_, bias) in pairs}


def hidden_layers(model: Model) -> list[Model]:
    """The layers with weights between the rows and the output layer of a head.

    model (Model): A head with the refs "tok2vec" and "output".
    """
    others = {node.id for node in model.get_ref("tok2vec").walk()} | {model.get_ref("output").id}
    return [node for node in model.walk() if node.id not in others and node.has_param("W")]


def fill_head(model: Model, weights: HeadWeights) -> None:
    """Put a checkpoint's arrays into an initialised head of the same shape."""
    layers = [*hidden_layers(model), model.get_ref("output")]
    for layer, (weight, bias) in zip(layers, weights.layers, strict=True):
        _set(layer, W=weight, b=bias)
    if weights.norm is not None:
        (layer,), (scale, shift, _) = norms(model), weights.norm
        _set(layer, G=scale, b=shift)


def _set(layer: Model, **params: Floats) -> None:
    for name, array in params.items():
        layer.set_param(name, layer.ops.xp.asarray(array, dtype="f"))


def norms(model: Model) -> list[Model]:
    """RETURNS (List[Model]): The layer norms of a head.

    model (Model): A head with the ref "tok2vec".
    """
    others = {node.id for node in model.get_ref("tok2vec").walk()}
    return [node for node in model.walk() if node.id not in others and node.name == "transfer_layer_norm"]


def read_head(model: Model, activation: str | None) -> HeadWeights:
    """The arrays of a head of ours."""
    layers = [*hidden_layers(model), model.get_ref("output")]
    arrays = [(_get(layer, "W"), _get(layer, "b")) for layer in layers]
    found = [(_get(node, "G"), _get(node, "b"), NormAttrs.of(node).epsilon) for node in norms(model)]
    return HeadWeights(arrays, activation if len(layers) > 1 else None, found[0] if len(found) == 1 else None)


def _get(layer: Model, name: str) -> Floats:
    return numpy.array(layer.ops.to_numpy(layer.get_param(name)), dtype="f")


def row_names(
    source: str, id2label: Mapping[str, str] | None, given: Sequence[str] | None, n_rows: int
) -> tuple[list[str], bool]:
    """Names of the rows of an output layer.

    RETURNS (Tuple[List[str], bool]): The names in order, and whether somebody chose them.
    RAISES (ValueError): When there are gaps, names twice, or another number than rows.
    """
    if given is not None:
        if len(given) != n_rows or len(set(given)) != len(given) or not all(given):
            raise ValueError(Errors.T383.format(source=source, found=list(given), rows=n_rows))
        return list(given), True
    if id2label is None:
        return [f"LABEL_{i}" for i in range(n_rows)], False
    names = [id2label.get(str(i)) for i in range(n_rows)]
    missing = [i for i, name in enumerate(names) if not isinstance(name, str) or not name]
    beyond = sorted(set(id2label) - {str(i) for i in range(n_rows)})
    twice = sorted({str(name) for name in names if names.count(name) > 1 and name})
    if missing or beyond or twice:
        raise ValueError(Errors.T382.format(source=source, rows=n_rows, missing=missing, beyond=beyond, twice=twice))
    chosen = [str(name) for name in names]
    return chosen, not all(re.fullmatch(r"LABEL_\d+", name) for name in chosen)


def near(name: str, names: Sequence[str]) -> list[str]:
    """RETURNS (List[str]): Those that look like a name, or else all."""
    return get_close_matches(name, names, n=4, cutoff=0.5) or list(names)
