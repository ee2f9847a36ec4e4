"""What heads are made of: layers between rows and output, an output layer that grows, the way from pooled rows."""

from collections.abc import Callable
from typing import Any, Literal

from thinc.api import Dropout, Gelu, Linear, Mish, Model, Relu, Swish, chain, glorot_uniform_init, noop, zero_init
from thinc.types import Floats2d

from .._compat import drop_gradient
from ..checks import BELOW_ONE, COUNT, POSITIVE, require
from ..errors import Errors
from .pooling import build_unit_length

Activation = Literal["relu", "gelu", "mish", "swish", "tanh"]


def hidden_layers(
    widths: list[int],
    activation: Activation,
    dropout: float | None,
    normalize: bool,
    layer_norm: float | None = None,
) -> Model[Floats2d, Floats2d]:
    """What lies between the pooled rows and the output layer; with no widths only dropout.

    widths (List[int]): Of the layers.
    activation (str): Of all of them.
    dropout (Optional[float]): Before every layer and after the last; None for what [training] dropout says.
    normalize (bool): Scale the pooled row to length 1 before all.
    layer_norm (Optional[float]): Epsilon of a layer norm after each of the layers; None for none.
    RETURNS (Model[Floats2d, Floats2d]): The layers.
    """
    for width in widths:
        require("model", COUNT, hidden=width)
    require("model", BELOW_ONE, dropout=dropout)
    require("model", POSITIVE, layer_norm=layer_norm)
    layers: list[Model] = []
    for width in widths:
        layers += [_dropout(dropout), _hidden(width, activation)]
        layers += [] if layer_norm is None else [build_layer_norm(width, layer_norm)]
    return chain(build_unit_length() if normalize else noop(), *layers, _dropout(dropout))


def _hidden(width: int, activation: Activation) -> Model[Floats2d, Floats2d]:
    makers: dict[str, Callable[..., Model]] = {"relu": Relu, "gelu": Gelu, "mish": Mish, "swish": Swish}
    if activation in makers:
        return makers[activation](nO=width, init_W=glorot_uniform_init)
    return _tanh_layer(width)


def _tanh_layer(width: int) -> Model[Floats2d, Floats2d]:
    def tanh(model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
        Y = model.ops.xp.tanh(X)
        return Y, lambda dY: dY * (1 - Y * Y)

    return chain(Linear(nO=width, init_W=glorot_uniform_init), Model("tanh", tanh))


def _dropout(rate: float | None) -> Model[Floats2d, Floats2d]:
    if rate is None:
        return Dropout(0.0)
    return Model("fixed_dropout", _fixed_dropout, attrs={"rate": rate})


def _fixed_dropout(model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
    """Under another attribute than Thinc's, which [training] dropout sets in every node of a component."""
    if not is_train or not model.attrs["rate"]:
        return X, lambda dY: dY
    mask = model.ops.get_dropout_mask(X.shape, model.attrs["rate"])
    return X * mask, lambda dY: dY * mask


def build_layer_norm(width: int, epsilon: float) -> Model[Floats2d, Floats2d]:
    """Layer normalisation (Ba et al. 2016) with an epsilon that can be set, as checkpoints have it. The gain is "G", the
    bias "b", as Thinc names them.

    width (int): Of the rows.
    epsilon (float): Is added to the variance.
    RETURNS (Model[Floats2d, Floats2d]): The layer.
    """
    dims: dict[str, int | None] = {"nI": width, "nO": width}
    model: Model = Model("transfer_layer_norm", _layer_norm, init=_init_layer_norm, dims=dims, params={"G": None, "b": None})
    model.attrs["epsilon"] = epsilon
    _init_layer_norm(model)
    return model


def _init_layer_norm(model: Model, X: Any = None, Y: Any = None) -> None:
    """Begin as the plain normalisation."""
    model.set_param("G", model.ops.alloc1f(model.get_dim("nO")) + 1)
    model.set_param("b", model.ops.alloc1f(model.get_dim("nO")))


def _layer_norm(model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
    centred = X - X.mean(axis=1, keepdims=True)
    scale = 1.0 / model.ops.xp.sqrt((centred * centred).mean(axis=1, keepdims=True) + model.attrs["epsilon"])
    normal, gain = centred * scale, model.get_param("G")

    def backprop(dY: Any) -> Any:
        model.inc_grad("b", dY.sum(axis=0))
        model.inc_grad("G", (dY * normal).sum(axis=0))
        d_normal = dY * gain
        # Neither the mean nor the length of a row can be changed by its values.
        along = (d_normal * normal).mean(axis=1, keepdims=True)
        return scale * (d_normal - d_normal.mean(axis=1, keepdims=True) - normal * along)

    return normal * gain + model.get_param("b"), backprop


def init_hidden(hidden: Model[Floats2d, Floats2d], width: int) -> int:
    """Fill in the widths of hidden layers, and give them weights.

    hidden (Model[Floats2d, Floats2d]): From `hidden_layers`.
    width (int): Of what they read.
    RETURNS (int): Of what they give.
    """
    for layer in hidden.walk():
        forget(layer)
        if "W" in layer.param_names:
            layer.set_dim("nI", width, force=True)
            width = layer.get_dim("nO")
        if layer.param_names:
            layer.initialize()
    return width


def forget(node: Model) -> None:
    """Take the weights and gradients of a node away, so that it begins anew, in another size too.

    node (Model): The node.
    """
    for name in node.param_names:
        node.set_param(name, None)
        drop_gradient(node, name)


def init_output(model: Model, output: Model, width: int, Y: Any) -> None:
    """The output layer is as wide as there are labels.

    model (Model): The head.
    output (Model): Its output layer.
    width (int): Of what that reads.
    Y (Optional[Floats2d]): A row for all labels; None where the head knows their number.
    """
    forget(output)
    if "temperature" in model.attrs:
        model.attrs["temperature"] = 1.0
    if Y is not None:
        model.set_dim("nO", Y.shape[1], force=True)
    output.set_dim("nO", model.get_dim("nO"), force=True)
    output.set_dim("nI", width, force=True)
    output.initialize()


def grow_output(model: Model, n_labels: int) -> Model:
    """Make room for labels. Those that were there keep their weights bit for bit, new ones start at zero.

    model (Model[List[Doc], Floats2d]): A head.
    n_labels (int): How many labels there are now.
    RETURNS (Model[List[Doc], Floats2d]): The same head.
    """
    output = model.get_ref("output")
    if output.has_param("W"):
        weights: Any = output.get_param("W")
        bias: Any = output.get_param("b")
        # A layer that has weights keeps its shape: a new one takes its place.
        larger: Model = Linear(nO=n_labels, nI=weights.shape[1], init_W=zero_init)
        larger.initialize()
        for name, old in (("W", weights), ("b", bias)):
            new: Any = larger.get_param(name)
            new[: len(old)] = old
        model.replace_node(output, larger)
        model.set_dim("nO", n_labels, force=True)
    return model


def states(model: Model, docs: Any, is_train: bool) -> tuple[Floats2d, Callable[[Floats2d], Any]]:
    """What the output layer reads: the pooled rows, after the hidden layers if there are any.

    model (Model): A head that pools: its first three layers are the rows, the pooling and the hidden layers.
    docs (List[Doc]): The batch.
    is_train (bool): Drop out, and keep what the backward pass needs.
    RETURNS (Tuple[Floats2d, Callable]): Shape (n_docs, width), and a callback that takes their gradients.
    """
    tok2vec, pool, hidden = model.layers[:3]
    context = model.maybe_get_ref("context")
    rows, back_rows = tok2vec(docs, is_train)
    if context is not None:
        rows, back_context = context(rows, is_train)
    vectors, back_pool = pool(rows, is_train) if isinstance(rows, list) else (rows, None)
    inputs, back_hidden = hidden(vectors, is_train)

    def backprop(d_inputs: Floats2d) -> Any:
        d_vectors = back_hidden(d_inputs)
        d_rows = d_vectors if back_pool is None else back_pool(d_vectors)
        return back_rows(d_rows if context is None else back_context(d_rows))

    return inputs, backprop


def init_pooled(model: Model, X: Any = None, Y: Any = None) -> None:
    """Fill in widths from the backbone's to the labels'. No doc goes through: none has rows yet."""
    tok2vec, pool, hidden, output = model.layers[:4]
    context = model.maybe_get_ref("context")
    if context is not None and tok2vec.attrs.get("rows_per") == "document":
        raise ValueError(Errors.T351.format(found=context.name))
    tok2vec.initialize(X=X)
    width = tok2vec.get_dim("nO")
    if context is not None:
        context.set_dim("nI", width, force=True)
        context.initialize()
        width = context.get_dim("nO")
    if tok2vec.attrs.get("rows_per") != "document":
        forget(pool)
        pool.set_dim("nI", width, force=True)
        pool.initialize()
        width = pool.get_dim("nO")
    width = init_hidden(hidden, width)
    init_output(model, output, width, Y)
