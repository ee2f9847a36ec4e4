"""An encoder of BERT's layout as a graph of ONNX, with any of its parts in int8.

Matrix products read pieces without padding; attention alone reads a rectangle of windows. In int8 each row of the input
has a scale and a zero point of its own, found at run time, and each column of the weights has a scale. Weights take 7
of the 8 bits: products of two full ranges overflow the 16 bits in which processors without VNNI add them.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from numpy.typing import NDArray

from ..errors import Errors
from ..extras import import_extra

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_MICROSOFT = "com.microsoft"
_OPSET = 20
_MOST_WEIGHT = 63
_GELU_LOW = 0.17  # GELU has no value below -0.17, so rows after it need no zero point of their own.
# Activations by the name of their class in transformers.
_ACTIVATIONS = {"GELUActivation", "ReLU"}


def parts_of(transformer: "PreTrainedModel") -> list[str]:
    """RETURNS (List[str]): Names of the parts that can be in int8: attention and feed-forward of each layer."""
    return [f"layer {i} {part}" for i in range(len(_layers(transformer))) for part in ("attention", "feed-forward")]


def why_no_graph(transformer: "PreTrainedModel") -> str | None:
    """RETURNS (Optional[str]): Why an encoder cannot be written as a graph; None where it can."""
    from ..backbones.transformer.packed import can_pack

    if not can_pack(transformer):
        return f"{type(transformer).__name__} has another layout than BERT"
    kinds = {type(layer.intermediate.intermediate_act_fn).__name__ for layer in _layers(transformer)}
    other = sorted(kinds - _ACTIVATIONS)
    return f"its activation is {', '.join(other)}" if other else None


def to_onnx(transformer: "PreTrainedModel", int8: Collection[str] = ()) -> bytes:
    """Write an encoder as a graph: see `backbones.engines.batches.feed` for its inputs. It gives the states of the last
    layer, shape (n, width).

    transformer (PreTrainedModel): One for which `why_no_graph` finds nothing.
    int8 (Collection[str]): The parts in int8; see `parts_of`.
    RETURNS (bytes): The model.
    """
    graph, bert = _Graph(), _Modules(transformer)
    hidden = _embed(graph, bert.embeddings)
    places = _find_places(graph, int(transformer.config.num_attention_heads))
    for i, layer in enumerate(bert.layers):
        context = _attend(graph, hidden, places, layer, f"layer {i} attention" in int8)
        hidden = _add_and_norm(graph, context, hidden, layer.attention.output.LayerNorm)
        wide = _feed_forward(graph, hidden, layer, f"layer {i} feed-forward" in int8)
        hidden = _add_and_norm(graph, wide, hidden, layer.output.LayerNorm)
    return graph.finish(hidden, bert.width)


def _layers(transformer: "PreTrainedModel") -> Any:
    bert: Any = transformer
    return bert.encoder.layer


class _Modules:
    def __init__(self, transformer: Any) -> None:
        self.embeddings: Any = transformer.embeddings
        self.layers: Any = transformer.encoder.layer
        self.width = int(transformer.config.hidden_size)


class _Graph:
    """Collects nodes and constants. Values are called by the names of nodes."""

    def __init__(self) -> None:
        self.onnx: Any = import_extra("onnx", Errors.T271.format(package="onnx"))
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **settings: Any) -> Any:
        """RETURNS (Union[str, List[str]]): The name of the value, or of several."""
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, domain=domain, **settings))
        return names[0] if outputs == 1 else names

    def const(self, value: "NDArray | list[int] | float") -> str:
        """RETURNS (str): The name of a constant; float32 if it is a float."""
        array = numpy.array(value, numpy.float32) if isinstance(value, float) else numpy.asarray(value)
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(numpy.array(array, order="C"), name))
        return name

    def finish(self, states: str, width: int) -> bytes:
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        self.nodes.append(helper.make_node("Identity", [states], ["states"]))
        inputs = [helper.make_tensor_value_info(name, kinds.INT64, ["n"]) for name in ("ids", "positions", "place")]
        inputs.append(helper.make_tensor_value_info("piece", kinds.INT64, ["m"]))
        inputs.append(helper.make_tensor_value_info("mask", kinds.FLOAT, ["windows", 1, 1, "longest"]))
        output = helper.make_tensor_value_info("states", kinds.FLOAT, ["n", width])
        graph = helper.make_graph(self.nodes, "encoder", inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="spacy-transfer")
        model.ir_version = 10  # That of the operators above; newer ones shut out older engines.
        data: bytes = model.SerializeToString()
        return data


def _embed(graph: _Graph, embeddings: Any) -> str:
    # All pieces are of type 0.
    positions = _array(embeddings.position_embeddings.weight) + _array(embeddings.token_type_embeddings.weight)[0]
    words = graph.add("Gather", graph.const(_array(embeddings.word_embeddings.weight)), "ids")
    total = graph.add("Add", words, graph.add("Gather", graph.const(positions), "positions"))
    norm = embeddings.LayerNorm
    parts = (graph.const(_array(norm.weight)), graph.const(_array(norm.bias)))
    return graph.add("LayerNormalization", total, *parts, axis=-1, epsilon=norm.eps)


class _Places(NamedTuple):
    """Where attention finds the rows of its heads, as values of the graph. Taken at once, they need no transposition.

    into: For query, key and value, shape (windows, heads, longest): rows of the product that has all three.
    out: Shape (n, heads): rows of the result for each piece.
    """

    into: list[str]
    out: str


def _find_places(graph: _Graph, heads: int) -> _Places:
    windows, longest = (graph.add("Shape", "mask", start=i, end=i + 1) for i in (0, 3))
    rectangle = graph.add("Concat", windows, graph.const([1]), longest, axis=0)
    first = graph.add("Mul", graph.add("Reshape", "piece", rectangle), graph.const([3 * heads]))
    own = numpy.arange(3 * heads).reshape(3, heads, 1)
    into = [graph.add("Add", first, graph.const(each)) for each in own]
    # A window has as many rows for each of its heads as it has places; the rectangle has them once.
    others = graph.add("Mul", longest, graph.const([heads - 1]))
    window = graph.add("Div", "place", longest)
    begin = graph.add("Unsqueeze", graph.add("Add", "place", graph.add("Mul", window, others)), graph.const([1]))
    out = graph.add("Add", begin, graph.add("Mul", longest, graph.const(numpy.arange(heads))))
    return _Places(into, out)


def _attend(graph: _Graph, hidden: str, places: _Places, layer: Any, is_int8: bool) -> str:
    """Attention inside each window, and the layer after it."""
    own, out = layer.attention.self, layer.attention.output.dense
    heads, size = own.num_attention_heads, own.attention_head_size
    share = numpy.float32(size**-0.25)  # Half of the scale of the scores on either side.
    scales = ((own.query, share), (own.key, share), (own.value, numpy.float32(1)))
    weight = numpy.concatenate([_array(part.weight).T * scale for part, scale in scales], axis=1)
    bias = numpy.concatenate([_array(part.bias) * scale for part, scale in scales])
    product = graph.add("Reshape", _linear(graph, hidden, weight, bias, is_int8), graph.const([-1, size]))
    query, key, value = (graph.add("Gather", product, at) for at in places.into)
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    shares = graph.add("Softmax", graph.add("Add", scores, "mask"), axis=-1)
    found = graph.add("Reshape", graph.add("MatMul", shares, value), graph.const([-1, size]))
    flat = graph.add("Reshape", graph.add("Gather", found, places.out), graph.const([-1, heads * size]))
    return _linear(graph, flat, _array(out.weight).T, _array(out.bias), is_int8)


def _feed_forward(graph: _Graph, hidden: str, layer: Any, is_int8: bool) -> str:
    up, down = layer.intermediate.dense, layer.output.dense
    wide = _linear(graph, hidden, _array(up.weight).T, _array(up.bias), is_int8)
    is_gelu = type(layer.intermediate.intermediate_act_fn).__name__ == "GELUActivation"
    wide = graph.add("Gelu" if is_gelu else "Relu", wide)
    return _linear(graph, wide, _array(down.weight).T, _array(down.bias), is_int8, _GELU_LOW if is_gelu else 0.0)


def _add_and_norm(graph: _Graph, found: str, hidden: str, norm: "nn.LayerNorm") -> str:
    # SkipLayerNormalization does both, in six times the time (onnxruntime 1.32).
    parts = (graph.const(_array(norm.weight)), graph.const(_array(norm.bias)))
    return graph.add("LayerNormalization", graph.add("Add", found, hidden), *parts, axis=-1, epsilon=norm.eps)


def _linear(graph: _Graph, rows: str, weight: NDArray, bias: NDArray, is_int8: bool, low: float | None = None) -> str:
    """rows @ weight + bias.

    low (Optional[float]): No value of the rows is below -low; null where each row has a lowest value of its own.
    """
    if not is_int8:
        return graph.add("Gemm", rows, graph.const(weight), graph.const(bias))
    whole, scales = quantized(weight)
    of_columns = (whole * scales).sum(axis=0, dtype=numpy.float32)
    axis, zero = graph.const([1]), graph.const(0.0)
    highest = graph.add("Max", graph.add("ReduceMax", rows, axis, keepdims=0), zero)
    if low is None:
        lowest = graph.add("Min", graph.add("ReduceMin", rows, axis, keepdims=0), zero)
    else:
        lowest = graph.const(-low)
    # A row of equal values has no extent, and must not be divided by it.
    extent = graph.add("Max", graph.add("Sub", highest, lowest), graph.const(1e-6))
    step = graph.add("Mul", extent, graph.const(1.0 / 255))
    # Where zero lies, in steps. A cast cuts off; a half more rounds.
    nearest = graph.add("Sub", graph.const(0.5), graph.add("Div", lowest, step))
    origin = graph.add("Cast", nearest, to=int(graph.onnx.TensorProto.UINT8))
    steps = graph.add("QuantizeLinear", rows, step, origin, axis=0)
    product = graph.add(
        "MatMulIntegerToFloat", steps, graph.const(whole), graph.const(1.0), graph.const(scales), domain=_MICROSOFT
    )
    column = graph.add("Unsqueeze", step, axis)
    begin = graph.add("Mul", graph.add("Neg", graph.add("Cast", origin, to=int(graph.onnx.TensorProto.FLOAT))), step)
    # One more column of ones beside it: for the bias.
    beside = graph.add("Pad", graph.add("Unsqueeze", begin, axis), graph.const([0, 0, 0, 1]), graph.const(1.0))
    both = graph.const(numpy.stack([of_columns, bias]))
    return graph.add("Gemm", beside, both, graph.add("Mul", product, column))


def quantized(weight: NDArray) -> tuple[NDArray[numpy.int8], NDArray[numpy.float32]]:
    """Round the weights of a linear layer to steps of a size of its own for each column.

    weight (NDArray[float32]): Shape (width_in, width_out).
    RETURNS (Tuple[NDArray[int8], NDArray[float32]]): Whole numbers of the same shape; the steps, of shape (width_out,).
    """
    scales = numpy.maximum(numpy.abs(weight).max(axis=0) / _MOST_WEIGHT, numpy.float32(1e-12)).astype(numpy.float32)
    return numpy.rint(weight / scales).astype(numpy.int8), scales


def _array(tensor: "Tensor") -> NDArray[numpy.float32]:
    return tensor.detach().cpu().float().numpy()
