"""An encoder of BERT's layout as a graph of ONNX, with any of its parts in int8.

Matrix products read pieces without padding; attention alone reads a rectangle of windows. In int8 each row of the input
has a scale and a zero point of its own, found at run time, and each column of the weights has a scale. Weights take 7
of the 8 bits: products of two full ranges overflow the 16 bits in which processors without VNNI add them.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

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
    for i, layer in enumerate(bert.layers):
        context = _attend(graph, hidden, layer, f"layer {i} attention" in int8)
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
        self.constants.append(self.onnx.numpy_helper.from_array(numpy.ascontiguousarray(array), name))
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


def _attend(graph: _Graph, hidden: str, layer: Any, is_int8: bool) -> tuple[str, NDArray]:
    """Attention inside each window, and the layer after it."""
    own, out = layer.attention.self, layer.attention.output.dense
    heads, size = own.num_attention_heads, own.attention_head_size
    share = numpy.float32(size**-0.25)  # Half of the scale of the scores on either side.
    scales = ((own.query, share), (own.key, share), (own.value, numpy.float32(1)))
    weight = numpy.concatenate([_array(part.weight).T * scale for part, scale in scales], axis=1)
    bias = numpy.concatenate([_array(part.bias) * scale for part, scale in scales])
    product, rest = _linear(graph, hidden, weight, is_int8)
    joined = graph.add("Gather", graph.add("Add", product, graph.const(bias + rest)), "piece")
    counts = (graph.add("Shape", "mask", start=0, end=1), graph.add("Shape", "mask", start=3, end=4))
    shape = graph.add("Concat", *counts, graph.const([heads, size]), axis=0)
    parts = graph.add("Split", joined, outputs=3, axis=1, num_outputs=3)
    query, key, value = (graph.add("Reshape", part, shape) for part in parts)
    query, value = (graph.add("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 3, 1]))
    shares = graph.add("Softmax", graph.add("Add", scores, "mask"), axis=-1)
    found = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    flat = graph.add("Gather", graph.add("Reshape", found, graph.const([-1, heads * size])), "place")
    product, rest = _linear(graph, flat, _array(out.weight).T, is_int8)
    return product, rest + _array(out.bias)


def _feed_forward(graph: _Graph, hidden: str, layer: Any, is_int8: bool) -> tuple[str, NDArray]:
    up, down = layer.intermediate.dense, layer.output.dense
    product, rest = _linear(graph, hidden, _array(up.weight).T, is_int8)
    bias = graph.const(rest + _array(up.bias))
    if type(layer.intermediate.intermediate_act_fn).__name__ == "GELUActivation":
        wide = graph.add("BiasGelu", product, bias, domain=_MICROSOFT)
    else:
        wide = graph.add("Relu", graph.add("Add", product, bias))
    product, rest = _linear(graph, wide, _array(down.weight).T, is_int8, _GELU_LOW)
    return product, rest + _array(down.bias)


def _add_and_norm(graph: _Graph, found: tuple[str, NDArray], hidden: str, norm: "nn.LayerNorm") -> str:
    product, bias = found
    parts = [graph.const(_array(norm.weight)), graph.const(_array(norm.bias)), graph.const(bias)]
    return graph.add("SkipLayerNormalization", product, hidden, *parts, domain=_MICROSOFT, epsilon=norm.eps)


def _linear(graph: _Graph, rows: str, weight: NDArray, is_int8: bool, low: float | None = None) -> tuple[str, NDArray]:
    """rows @ weight, but for what is the same for all rows.

    low (Optional[float]): No value of the rows is below -low; null where each row has a lowest value of its own.
    RETURNS (Tuple[str, NDArray]): The product, and what to add to each row.
    """
    if not is_int8:
        return graph.add("MatMul", rows, graph.const(weight)), numpy.zeros(weight.shape[1], numpy.float32)
    whole, scales = quantized(weight)
    of_columns = (whole * scales).sum(axis=0, dtype=numpy.float32)
    axis, half = graph.const([1]), graph.const(0.5)  # A cast cuts off; a half more rounds.
    highest = graph.add("ReduceMax", rows, axis, keepdims=1)
    lowest = graph.add("ReduceMin", rows, axis, keepdims=1) if low is None else graph.const(-low)
    # A row of equal values has no extent, and must not be divided by it.
    extent = graph.add("Max", graph.add("Sub", highest, lowest), graph.const(1e-6))
    step, per_step = graph.add("Mul", extent, graph.const(1.0 / 255)), graph.add("Div", graph.const(255.0), extent)
    offset = graph.add("Sub", half, graph.add("Mul", lowest, per_step))
    moved = graph.add("Add", graph.add("Mul", rows, per_step), offset)
    steps = graph.add("Cast", moved, to=int(graph.onnx.TensorProto.UINT8))
    one, columns = graph.const(1.0), graph.const(scales)
    product = graph.add("MatMulIntegerToFloat", steps, graph.const(whole), one, columns, domain=_MICROSOFT)
    scaled = graph.add("Mul", product, step)
    if low is not None:
        return scaled, numpy.float32(-low) * of_columns
    return graph.add("Gemm", lowest, graph.const(of_columns[None]), scaled), numpy.zeros_like(of_columns)


def quantized(weight: NDArray) -> tuple[NDArray[numpy.int8], NDArray[numpy.float32]]:
    """Round the weights of a linear layer to steps of a size of its own for each column.

    weight (NDArray[float32]): Shape (width_in, width_out).
    RETURNS (Tuple[NDArray[int8], NDArray[float32]]): Whole numbers of the same shape; the steps, of shape (width_out,).
    """
    scales = numpy.maximum(numpy.abs(weight).max(axis=0) / _MOST_WEIGHT, numpy.float32(1e-12)).astype(numpy.float32)
    return numpy.rint(weight / scales).astype(numpy.int8), scales


def _array(tensor: "Tensor") -> NDArray[numpy.float32]:
    return tensor.detach().cpu().float().numpy()
