"""Batches of windows: packed one after the other, or as a rectangle with padding."""

from functools import cached_property

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    def tensor(self) -> Tensor:
        return torch.from_numpy(self.ids).to(self.device)

    @cached_property
    def inside(self) -> Tensor:
        """Indices of the pieces in a flattened array of shape (count, longest)."""
        places = ranges(numpy.arange(self.count) * self.longest, self.sizes)
        return torch.from_numpy(places).to(self.device)

    def windows(self) -> list[NDArray[numpy.int64]]:
        return [self.ids[begin : begin + size] for begin, size in zip(self.begins, self.sizes, strict=True)]

    def select(self, which: NDArray[numpy.int64]) -> "Portion":
        return Portion(self.ids[ranges(self.begins[which], self.sizes[which])], self.sizes[which], self.device)

    def rectangle(self, pad_id: int) -> dict[str, Tensor]:
        """RETURNS (Dict[str, Tensor]): Arguments of transformers' encoders; no mask where there is no padding."""
        shape = (self.count, self.longest)
        ids = torch.full((self.count * self.longest,), pad_id, dtype=torch.int64, device=self.device)
        ids[self.inside] = self.tensor
        inputs = {"input_ids": ids.view(shape)}
        if int(self.sizes.min()) < self.longest:
            mask = torch.zeros_like(ids)
            mask[self.inside] = 1
            inputs["attention_mask"] = mask.view(shape)
        return inputs
