"""Large temporaries of prediction that are kept from batch to batch.

Freed and taken anew for every layer, they would leave the heap in pieces: the vocabulary goes on taking small bits for
new words between them, what is free no longer fits the next batch, and resident memory grows for as long as new words
come. See `benchmarks/memory.py`.
"""

import threading
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ..._compat import has_hooks

# More rows than a batch of the default size has by far: what is larger is left to the system.
_MOST_ROWS = 4096


class Buffers(threading.local):
    """One set for each thread: two pipelines may predict at once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Tensor] = {}

    def take(self, name: str, n_rows: int, width: int) -> Tensor:
        """Room for a temporary; whatever had that name and width is overwritten.

        n_rows (int), width (int): Its shape.
        RETURNS (Tensor): float32, shape (n_rows, width).
        """
        kept = self._kept.get((name, width))
        if kept is None or len(kept) < n_rows:
            with torch.inference_mode(False):
                kept = self._kept[name, width] = torch.empty((n_rows, width))
        return kept[:n_rows]

    def linear(self, name: str, rows: Tensor, module: Any) -> Tensor:
        """RETURNS (Tensor): What the module gives, in the buffer of that name.

        rows (Tensor): Shape (n_rows, width).
        """
        out = self.take(name, len(rows), module.out_features)
        return torch.addmm(module.bias, rows, module.weight.t(), out=out)

    def normalize(self, name: str, rows: Tensor, module: Any) -> Tensor:
        """RETURNS (Tensor): The rows normalised, in the buffer of that name.

        rows (Tensor): Shape (n_rows, width); they are not in that buffer.
        """
        out = self.take(name, *rows.shape)
        mean, deviation = self.take("mean", len(rows), 1), self.take("deviation", len(rows), 1)
        shape, settings = module.normalized_shape, (module.weight, module.bias, module.eps)
        torch.ops.aten.native_layer_norm.out(rows, shape, *settings, out0=out, out1=mean, out2=deviation)
        return out

    def look_up(self, name: str, ids: Tensor, module: Any) -> Tensor:
        """RETURNS (Tensor): Rows of a table, in the buffer of that name.

        ids (Tensor): Which rows, shape (n_rows,).
        """
        return torch.index_select(module.weight, 0, ids, out=self.take(name, len(ids), module.embedding_dim))


def can_buffer(layer: Any, hidden: Tensor) -> bool:
    """Whether a layer, in prediction, is made of plain parts: no adapter, no other precision, nobody that listens.

    RETURNS (bool): False for anything unusual.
    """
    own, out = layer.attention.self, layer.attention.output
    parts = (own.query, own.key, own.value, out.dense, layer.intermediate.dense, layer.output.dense)
    norms = (out.LayerNorm, layer.output.LayerNorm)
    return _may_buffer(layer, hidden) and _are_plain(parts, nn.Linear) and _are_plain(norms, nn.LayerNorm)


def can_buffer_embeddings(embeddings: Any, ids: Tensor) -> bool:
    """The same for what comes before the first layer.

    ids (Tensor): What goes in, shape (n,).
    RETURNS (bool): False for anything unusual.
    """
    if has_hooks(embeddings):
        return False
    tables = (embeddings.word_embeddings, embeddings.token_type_embeddings, embeddings.position_embeddings)
    like = embeddings.word_embeddings.weight
    if like.device.type != "cpu" or like.dtype != torch.float32 or not _may_buffer(embeddings, ids):
        return False
    return _are_plain(tables, nn.Embedding) and _are_plain([embeddings.LayerNorm], nn.LayerNorm)


def _may_buffer(module: Any, given: Tensor) -> bool:
    is_training = torch.is_grad_enabled() or module.training or torch.is_autocast_enabled("cpu")
    is_float = given.dtype in (torch.float32, torch.int64)
    return not is_training and given.device.type == "cpu" and is_float and len(given) <= _MOST_ROWS


def _are_plain(parts: Collection[Any], kind: type) -> bool:
    whole = all(type(part) is kind and not has_hooks(part) for part in parts)
    return whole and all(getattr(part, "bias", part) is not None for part in parts)
