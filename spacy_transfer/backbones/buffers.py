"""Large temporaries of prediction that are kept from batch to batch.

Freed and taken anew for every layer, they would leave the heap in pieces: the vocabulary goes on taking small bits for
new words between them, what is free no longer fits the next batch, and resident memory grows for as long as new words
come. See `benchmarks/memory.py`.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn

from .._compat import has_hooks

# More rows than a batch of the default size has by far: what is larger is left to the system.
_MOST_ROWS = 4096


class Buffers(threading.local):
    """One set for each thread: two pipelines may predict at once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Tensor] = {}

    def take(self, name: str, n_rows: int, width: int) -> Tensor:
        """Room for a temporary; whatever had that name and width is overwritten.

        name (str): What it is for.
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

        name (str): Of the buffer.
        rows (Tensor): Shape (n_rows, width).
        module (nn.Linear): The layer.
        """
        out = self.take(name, len(rows), module.out_features)
        return torch.addmm(module.bias, rows, module.weight.t(), out=out)


def can_buffer(layer: Any, hidden: Tensor) -> bool:
    """Whether a layer, in prediction, is made of plain parts: no adapter, no other precision, nobody that listens.

    layer (nn.Module): A layer laid out like BERT's.
    hidden (Tensor): What goes in.
    RETURNS (bool): False for anything unusual.
    """
    if torch.is_grad_enabled() or layer.training or hidden.device.type != "cpu" or hidden.dtype != torch.float32:
        return False
    if len(hidden) > _MOST_ROWS or torch.is_autocast_enabled("cpu"):
        return False
    own, out = layer.attention.self, layer.attention.output
    parts = (own.query, own.key, own.value, out.dense, layer.intermediate.dense, layer.output.dense)
    return all(type(part) is nn.Linear and part.bias is not None and not has_hooks(part) for part in parts)
