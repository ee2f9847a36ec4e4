"""Blocks of windows of similar length, whose attention is computed at once."""

from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """Windows whose attention is computed at once: pieces `begin` to `end`, in a rectangle of `shape` (number of
    windows, longest). Where sizes differ, `at` is the place of every piece, and `mask` is False at padding."""

    begin: int
    end: int
    shape: tuple[int, int]
    at: Tensor | None = None
    mask: Tensor | None = None

    def rectangle(self, rows: Tensor) -> Tensor:
        """RETURNS (Tensor): The block's own among the rows of all pieces, shape (windows, longest, ...)."""
        rows = rows[self.begin : self.end]
        if self.at is not None:
            count, longest = self.shape
            rows = rows.new_zeros(count * longest, *rows.shape[1:]).index_copy(0, self.at, rows)
        return rows.unflatten(0, self.shape)

    def flat(self, rows: Tensor) -> Tensor:
        """RETURNS (Tensor): Rows of a rectangle without padding."""
        return rows if self.at is None else rows.index_select(0, self.at)


def lay_out(sizes: NDArray[numpy.int64], is_train: bool, device: torch.device) -> list[Block]:
    """In prediction a block for each size. In training, where calls take more time, a block has all windows that are at
    least four fifths as long as its first."""
    slack = 0.8 if is_train else 1.0
    blocks, first = [], 0
    ends = numpy.cumsum(sizes)
    while first < len(sizes):
        longest = int(sizes[first])
        after = first + int(numpy.searchsorted(-sizes[first:], -slack * longest, side="right"))
        begin, end, shape = int(ends[first] - longest), int(ends[after - 1]), (after - first, longest)
        if end - begin == shape[0] * longest:
            blocks.append(Block(begin, end, shape))
        else:
            inside = numpy.arange(longest)[None] < sizes[first:after, None]
            at = torch.from_numpy(numpy.flatnonzero(inside)).to(device)
            mask = torch.from_numpy(inside[:, None, None]).to(device)
            blocks.append(Block(begin, end, shape, at, mask))
        first = after
    return blocks


def positions(sizes: NDArray[numpy.int64], first: int, device: torch.device) -> Tensor:
    """RETURNS (Tensor): The number of each piece in its window, shape (n,).

    first (int): That of a window's first one.
    """
    begins = numpy.cumsum(sizes) - sizes
    return torch.from_numpy(numpy.arange(int(sizes.sum())) - numpy.repeat(begins, sizes) + first).to(device)
