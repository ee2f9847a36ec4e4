"""Buffers for the large temporaries of prediction, kept from batch to batch.

If they were freed and allocated for every layer, the heap would be fragmented: the vocabulary allocates small strings
for new words between them, and resident memory grows as long as new words come. See `benchmarks/memory.py`.
"""

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..._compat import has_hooks, has_packed_linear

if TYPE_CHECKING:
    from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer

# Far more rows than a batch of the default size has. Larger temporaries get no buffer.
_MOST_ROWS = 4096


class Buffers(threading.local):
    """One set of buffers for each thread: two pipelines may predict at once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, torch.dtype], Tensor] = {}

    def take(self, name: str, n_rows: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Room for a temporary; whatever had that name, width and type is overwritten.

        n_rows (int), width (int): Its shape.
        RETURNS (Tensor): Shape (n_rows, width).
        """
        kept = self._kept.get((name, width, dtype))
        if kept is None or len(kept) < n_rows:
            with torch.inference_mode(False):
                kept = self._kept[name, width, dtype] = torch.empty((n_rows, width), dtype=dtype)
        return kept[:n_rows]

    def linear(self, name: str, rows: Tensor, module: nn.Linear) -> Tensor:
        """RETURNS (Tensor): The output for rows of shape (n_rows, width), in the buffer of that name."""
        out = self.take(name, len(rows), module.out_features)
        return torch.addmm(module.bias, rows, module.weight.t(), out=out)

    def normalize(self, name: str, rows: Tensor, module: nn.LayerNorm) -> Tensor:
        """RETURNS (Tensor): The rows normalised, in the buffer of that name. They must not be in it themselves."""
        out = self.take(name, *rows.shape)
        mean, deviation = self.take("mean", len(rows), 1), self.take("deviation", len(rows), 1)
        shape, settings = module.normalized_shape, (module.weight, module.bias, module.eps)
        torch.ops.aten.native_layer_norm.out(rows, shape, *settings, out0=out, out1=mean, out2=deviation)
        return out

    def look_up(self, name: str, ids: Tensor, module: nn.Embedding) -> Tensor:
        """RETURNS (Tensor): The rows of a table with these ids, of shape (n_rows,), in the buffer of that name."""
        return torch.index_select(module.weight, 0, ids, out=self.take(name, len(ids), module.embedding_dim))


def can_buffer(layer: "BertLayer", hidden: Tensor) -> bool:
    """RETURNS (bool): Whether a layer, in prediction, has plain parts alone: no adapter, no hooks, float32. Under
    autocast it can where oneDNN's own products with packed weights are at hand."""
    own, out = layer.attention.self, layer.attention.output
    parts = (own.query, own.key, own.value, out.dense, layer.intermediate.dense, layer.output.dense)
    norms = (out.LayerNorm, layer.output.LayerNorm)
    return _may_buffer(layer, hidden) and _are_plain(parts, nn.Linear) and _are_plain(norms, nn.LayerNorm)


def can_buffer_embeddings(embeddings: "BertEmbeddings", ids: Tensor) -> bool:
    """RETURNS (bool): The same of the embeddings."""
    if has_hooks(embeddings):
        return False
    tables = (embeddings.word_embeddings, embeddings.token_type_embeddings, embeddings.position_embeddings)
    like = embeddings.word_embeddings.weight
    if like.device.type != "cpu" or like.dtype != torch.float32 or not _may_buffer(embeddings, ids):
        return False
    return _are_plain(tables, nn.Embedding) and _are_plain([embeddings.LayerNorm], nn.LayerNorm)


def _may_buffer(module: nn.Module, given: Tensor) -> bool:
    if torch.is_autocast_enabled("cpu"):
        # Autocast to float16 takes the modules as they are.
        is_bf16 = torch.get_autocast_dtype("cpu") == torch.bfloat16
        if not (is_bf16 and has_packed_linear()):
            return False
    is_training = torch.is_grad_enabled() or module.training
    is_float = given.dtype in (torch.float32, torch.int64)
    return not is_training and given.device.type == "cpu" and is_float and len(given) <= _MOST_ROWS


def _are_plain(parts: Collection[nn.Module], kind: type) -> bool:
    has_kind = all(type(part) is kind and not has_hooks(part) for part in parts)
    return has_kind and all(getattr(part, "bias", part) is not None for part in parts)
