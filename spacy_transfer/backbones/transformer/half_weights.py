"""The weights of encoder layers in bfloat16, converted and packed once for all passes in prediction. Autocast converts
them in each pass, and oneDNN packs them for each product, which takes a good part of the time of a short text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers.models.bert.modeling_bert import BertLayer

_Version = tuple[tuple[int, int], ...]
_BLOCK, _STEP = 256, 16
"""Rows of a product, and of what a smaller one is a multiple: sixteen kernels do for all numbers of rows."""


class HalfLinear:
    """The product with the weights of linear layers side by side, in bfloat16 with float32 inside, on a CPU.

    has_gelu: Whether GELU follows, in the same pass over memory.
    """

    def __init__(self, layers: list[nn.Linear], has_gelu: bool = False) -> None:
        self.has_gelu = has_gelu
        weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
        self._weight, self._bias = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16()), bias.bfloat16()

    def __call__(self, rows: Tensor) -> Tensor:
        how = "gelu" if self.has_gelu else "none"
        return torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, how, [], "none")


@dataclass(frozen=True)
class HalfWeights:
    """The linear parts of a layer of BERT's layout.

    version: The parameters that they were made from: where each lies in memory, and how often it was changed.
    joined: Query, key and value.
    out, wide, narrow: After the attention; into and out of the feed-forward part.
    """

    version: _Version
    joined: HalfLinear
    out: HalfLinear
    wide: HalfLinear
    narrow: HalfLinear


def row_blocks(n_rows: int) -> list[slice]:
    """RETURNS (List[slice]): Blocks of rows. The last may go beyond the rows that there are."""
    n_whole = -(-n_rows // _STEP) * _STEP
    return [slice(begin, min(begin + _BLOCK, n_whole)) for begin in range(0, n_whole, _BLOCK)]


# By the first of their layers.
_KEPT: WeakKeyDictionary[nn.Module, HalfWeights] = WeakKeyDictionary()


def half_weights(layer: "BertLayer") -> HalfWeights:
    """RETURNS (HalfWeights): Those of a layer as it is now: made anew when one of its parameters has changed."""
    own, wide = layer.attention.self, layer.intermediate.dense
    query, out, narrow = [own.query, own.key, own.value], layer.attention.output.dense, layer.output.dense
    version = tuple(
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        for part in (*query, out, wide, narrow)
        for tensor in (part.weight, part.bias)
    )
    found = _KEPT.get(own.query)
    if found is None or found.version != version:
        has_gelu = type(layer.intermediate.intermediate_act_fn).__name__ == "GELUActivation"
        with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
            found = HalfWeights(
                version, HalfLinear(query), HalfLinear([out]), HalfLinear([wide], has_gelu), HalfLinear([narrow])
            )
        _KEPT[own.query] = found
    return found
