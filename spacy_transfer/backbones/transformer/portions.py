"""Batches of windows: laid end to end, or as a rectangle with padding."""

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from .packing.attention import InWindows
from .packing.blocks import lay_out, positions
from .pieces import ranges


class Portion:
    """A batch of windows.

    ids (NDArray[int64]): The pieces of all windows, shape (n,).
    sizes (NDArray[int64]): Number of pieces of each, largest first, shape (n_windows,).
    """

    def __init__(self, ids: NDArray[numpy.int64], sizes: NDArray[numpy.int64], device: torch.device) -> None:
        self.ids, self.sizes, self.device = ids, sizes, device
        self.begins = numpy.cumsum(sizes) - sizes
        self.count, self.longest = len(sizes), int(sizes.max())

    @property
    def shape(self) -> tuple[int, int]:
        """Of the ids that the encoder sees: number of texts, longest."""
        return self.count, self.longest

    @property
    def starts(self) -> NDArray[numpy.int64]:
        """Where each window begins in a flattened array of that shape."""
        return numpy.arange(self.count) * self.longest

    @property
    def tensor(self) -> Tensor:
        return torch.from_numpy(self.ids).to(self.device)

    @cached_property
    def inside(self) -> Tensor:
        """Indices of the pieces there."""
        return torch.from_numpy(ranges(self.starts, self.sizes)).to(self.device)

    def windows(self) -> list[NDArray[numpy.int64]]:
        return [self.ids[begin : begin + size] for begin, size in zip(self.begins, self.sizes, strict=True)]

    def select(self, which: NDArray[numpy.int64]) -> "Portion":
        return type(self)(self.ids[ranges(self.begins[which], self.sizes[which])], self.sizes[which], self.device)

    def attention(self) -> AbstractContextManager:
        """RETURNS (ContextManager): Within, the encoder may read them."""
        return nullcontext()

    def inputs(self, pad_id: int) -> dict[str, Tensor]:
        """RETURNS (Dict[str, Tensor]): Arguments of transformers' encoders; no mask where there is no padding."""
        ids = torch.full((self.count * self.longest,), pad_id, dtype=torch.int64, device=self.device)
        ids[self.inside] = self.tensor
        inputs = {"input_ids": ids.view(self.shape)}
        if int(self.sizes.min()) < self.longest:
            mask = torch.zeros_like(ids)
            mask[self.inside] = 1
            inputs["attention_mask"] = mask.view(self.shape)
        return inputs


class Joined(Portion):
    """A batch of windows that an encoder reads as one text: positions begin anew in each window, and within
    `attention` none sees another."""

    @property
    def shape(self) -> tuple[int, int]:
        return 1, len(self.ids)

    @property
    def starts(self) -> NDArray[numpy.int64]:
        return self.begins

    def attention(self) -> AbstractContextManager:
        return InWindows(lay_out(self.sizes, torch.is_grad_enabled(), self.device))

    def inputs(self, pad_id: int) -> dict[str, Tensor]:
        ids = self.tensor[None]
        # With a mask: without one, transformers makes its own masks from positions.
        places = positions(self.sizes, 0, self.device)[None]
        return {"input_ids": ids, "position_ids": places, "attention_mask": torch.ones_like(ids)}
