"""Parts of heads: hidden layers, layer norm, an output layer that grows, and the way from rows to the output layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from thinc.api import Dropout, Gelu, Linear, Mish, Model, Relu, Swish, chain, glorot_uniform_init, noop, zero_init
from thinc.types import Floats2d

from .._compat import drop_gradient
from ..attributes import Attrs, RowsAttrs
from ..checks import BELOW_ONE, COUNT, POSITIVE, require
from ..errors import Errors
from ..types import AnyModel, Floats
from .pooling import build_unit_length

Activation = Literal["relu", "gelu", "mish", "swish", "tanh"]
Layer = Model[Floats2d, Floats2d]
Backprop = Callable[[Floats], Floats]


@dataclass(kw_only=True)
class StatesAttrs(Attrs):
    """Of a head whose output layer is linear.

    states (Callable): Head, docs, whether to train -> the input of the output layer, and a callback for its gradient.
    """

    states: Callable[..., tuple[Floats2d, Callable[[Floats2d], object]]]


@dataclass(kw_only=True)
class TemperatureAttrs(Attrs):
    """Of a head that can be calibrated.

    temperature (float): Divides logits where probabilities are predicted; not in training.
    """

    temperature: float = 1.0


@dataclass(kw_only=True)
class ResizeAttrs(Attrs):
    """Of a head that grows. spaCy reads this too.

    resize_output (Callable): Head, number of labels -> the head with an output layer of that size.
    """

    resize_output: Callable[..., AnyModel]


@dataclass(kw_only=True)
class DropoutAttrs(Attrs):
    """The rate is not Thinc's, which [training] dropout sets in every node of a component."""

    rate: float


@dataclass(kw_only=True)
class NormAttrs(Attrs):
    """Of a layer norm."""

    epsilon: float


def hidden_layers(
    widths: list[int],
    activation: Activation,
    dropout: float | None,
    normalize: bool,
    layer_norm: float | None = None,
) -> Layer:
    """The layers between the pooled rows and the output layer; with no widths only dropout.

    dropout (Optional[float]): Before every layer and after the last; None for what [training] dropout says.
    normalize (bool): Scale the pooled row to length 1 before all.
    layer_norm (Optional[float]): Epsilon of a layer norm after each of the layers; None for none.
    """
    for width in widths:
        require("model", COUNT, hidden=width)
    require("model", BELOW_ONE, dropout=dropout)
    require("model", POSITIVE, layer_norm=layer_norm)
    layers: list[Layer] = []
    for width in widths:
        layers += [_dropout(dropout), _hidden(width, activation)]
        layers += [] if layer_norm is None else [build_layer_norm(width, layer_norm)]
    return chain(build_unit_length() if normalize else noop(), *layers, _dropout(dropout))


def _hidden(width: int, activation: Activation) -> Layer:
    makers: dict[str, Callable[..., Layer]] = {"relu": Relu, "gelu": Gelu, "mish": Mish, "swish": Swish}
    if activation in makers:
        return makers[activation](nO=width, init_W=glorot_uniform_init)
    return _tanh_layer(width)


def _tanh_layer(width: int) -> Layer:
    def tanh(model: AnyModel, X: Floats, is_train: bool) -> tuple[Floats, Backprop]:
        Y: Floats = model.ops.xp.tanh(X)
        return Y, lambda dY: dY * (1 - Y * Y)

    node: AnyModel = Model("tanh", tanh)
    return chain(Linear(nO=width, init_W=glorot_uniform_init), node)


def _dropout(rate: float | None) -> Layer:
    if rate is None:
        return Dropout(0.0)
    node: AnyModel = Model("fixed_dropout", _fixed_dropout, attrs=vars(DropoutAttrs(rate=rate)))
    return node


def _fixed_dropout(model: AnyModel, X: Floats, is_train: bool) -> tuple[Floats, Backprop]:
    rate = DropoutAttrs.of(model).rate
    if not is_train or not rate:
        return X, lambda dY: dY
    mask = cast(Floats, model.ops.get_dropout_mask(X.shape, rate))
    return X * mask, lambda dY: dY * mask


def build_layer_norm(width: int, epsilon: float) -> Layer:
    """Layer normalisation (Ba et al. 2016) with the epsilon of a checkpoint. Gain and bias: "G" and "b", as in
    Thinc."""
    dims: dict[str, int | None] = {"nI": width, "nO": width}
    model: AnyModel = Model(
        "transfer_layer_norm", _layer_norm, init=_init_layer_norm, dims=dims, params={"G": None, "b": None}
    )
    NormAttrs.of(model).epsilon = epsilon
    _init_layer_norm(model)
    return model


def _init_layer_norm(model: AnyModel, X: object = None, Y: object = None) -> None:
    model.set_param("G", model.ops.alloc1f(model.get_dim("nO")) + 1)
    model.set_param("b", model.ops.alloc1f(model.get_dim("nO")))


def _layer_norm(model: AnyModel, X: Floats, is_train: bool) -> tuple[Floats, Backprop]:
    centred = X - X.mean(axis=1, keepdims=True)
    scale = 1.0 / model.ops.xp.sqrt((centred * centred).mean(axis=1, keepdims=True) + NormAttrs.of(model).epsilon)
    normal, gain = centred * scale, cast(Floats, model.get_param("G"))

    def backprop(dY: Floats) -> Floats:
        model.inc_grad("b", dY.sum(axis=0))
        model.inc_grad("G", (dY * normal).sum(axis=0))
        d_normal = dY * gain
        # The output does not depend on the mean and the length of a row.
        along = (d_normal * normal).mean(axis=1, keepdims=True)
        d_rows: Floats = scale * (d_normal - d_normal.mean(axis=1, keepdims=True) - normal * along)
        return d_rows

    return normal * gain + cast(Floats, model.get_param("b")), backprop


def init_hidden(hidden: Layer, width: int) -> int:
    """Fill in the widths of hidden layers, and initialise their weights.

    RETURNS (int): Of the rows that they return.
    """
    for layer in hidden.walk():
        forget(layer)
        if "W" in layer.param_names:
            layer.set_dim("nI", width, force=True)
            width = layer.get_dim("nO")
        if layer.param_names:
            layer.initialize()
    return width


def forget(node: AnyModel) -> None:
    """Remove weights and gradients of a node, so that it can be initialised again, also in another size."""
    for name in node.param_names:
        node.set_param(name, None)
        drop_gradient(node, name)


def init_output(model: AnyModel, output: AnyModel, width: int, Y: Floats2d | None) -> None:
    """Initialise the output layer, which is as wide as there are labels.

    Y (Optional[Floats2d]): One column for each label; None where the head knows their number.
    """
    forget(output)
    if TemperatureAttrs.fits(model):
        TemperatureAttrs.of(model).temperature = 1.0
    if Y is not None:
        model.set_dim("nO", Y.shape[1], force=True)
    output.set_dim("nO", model.get_dim("nO"), force=True)
    output.set_dim("nI", width, force=True)
    output.initialize()


def grow_output(model: AnyModel, n_labels: int) -> AnyModel:
    """Add labels to the output layer. Old labels keep their weights bit for bit, new ones start at zero."""
    output = model.get_ref("output")
    if output.has_param("W"):
        # A layer with weights cannot change its shape: a new one replaces it.
        larger: AnyModel = Linear(nO=n_labels, nI=cast(Floats, output.get_param("W")).shape[1], init_W=zero_init)
        larger.initialize()
        for name in ("W", "b"):
            old, new = (cast(Floats, layer.get_param(name)) for layer in (output, larger))
            new[: len(old)] = old
        model.replace_node(output, larger)
        model.set_dim("nO", n_labels, force=True)
    return model


def states(model: AnyModel, docs: object, is_train: bool) -> tuple[Floats2d, Callable[[Floats2d], object]]:
    """The input of the output layer: the pooled rows, after the hidden layers.

    model (Model): A head that pools: its first three layers are the rows, the pooling and the hidden layers.
    RETURNS (Tuple[Floats2d, Callable]): Shape (n_docs, width), and a callback that takes their gradients.
    """
    tok2vec, pool, hidden = model.layers[:3]
    context = model.maybe_get_ref("context")
    rows, back_rows = tok2vec(docs, is_train)
    if context is not None:
        rows, back_context = context(rows, is_train)
    vectors, back_pool = pool(rows, is_train) if isinstance(rows, list) else (rows, None)
    inputs, back_hidden = hidden(vectors, is_train)

    def backprop(d_inputs: Floats2d) -> object:
        d_vectors = back_hidden(d_inputs)
        d_rows = d_vectors if back_pool is None else back_pool(d_vectors)
        d_docs: object = back_rows(d_rows if context is None else back_context(d_rows))
        return d_docs

    return inputs, backprop


def init_pooled(model: AnyModel, X: object = None, Y: Floats2d | None = None) -> None:
    """Fill in widths from the backbone to the labels, without a forward pass: no doc has rows yet."""
    init_output(model, model.layers[3], init_rows(model, X), Y)


def init_rows(model: AnyModel, X: object = None, Y: object = None) -> int:
    """Fill in widths from the backbone to the input of the output layer.

    RETURNS (int): The width of that.
    """
    tok2vec, pool, hidden = model.layers[:3]
    context = model.maybe_get_ref("context")
    if context is not None and RowsAttrs.of(tok2vec).rows_per == "document":
        raise ValueError(Errors.T351.format(found=context.name))
    tok2vec.initialize(X=X)
    width = tok2vec.get_dim("nO")
    if context is not None:
        context.set_dim("nI", width, force=True)
        context.initialize()
        width = context.get_dim("nO")
    if RowsAttrs.of(tok2vec).rows_per != "document":
        forget(pool)
        pool.set_dim("nI", width, force=True)
        pool.initialize()
        width = pool.get_dim("nO")
    return init_hidden(hidden, width)
