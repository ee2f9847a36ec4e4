"""Passes of encoders of any family over windows laid end to end. The encoder's own code sees one text; where it calls
torch's attention, that runs inside each window."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from .blocks import Block


class InWindows(TorchFunctionMode):
    """Within, in this thread, attention over all pieces is attention inside each window.

    blocks (List[Block]): The windows.
    """

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = blocks

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        run = self._attend if func is scaled_dot_product_attention else func
        return run(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **how: Any,
    ) -> Tensor:
        """The same for all of shape (1, heads, n, size)."""
        rows, found = [x[0].transpose(0, 1) for x in (query, key, value)], []
        for block in self.blocks:
            q, k, v = (block.rectangle(x).transpose(1, 2) for x in rows)
            mask = None if is_causal else _mask(attn_mask, block, q)
            states = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal, **how)
            found.append(block.flat(states.transpose(1, 2).flatten(0, 1)))
        return torch.cat(found).transpose(0, 1)[None]


def _mask(mask: Tensor | None, block: Block, like: Tensor) -> Tensor | None:
    """What each piece sees in its window: as much as in the first. A window begins like the whole, so that its mask is
    in the corner of the whole one."""
    if mask is None:
        return block.mask
    longest = block.shape[1]
    mask = mask[..., :longest, :longest]
    if block.mask is None:
        return mask
    lowest = torch.finfo(like.dtype).min
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, lowest)
    # Not minus infinity: beyond a short window there are pieces that see padding alone.
    return mask.masked_fill(~block.mask, lowest)
