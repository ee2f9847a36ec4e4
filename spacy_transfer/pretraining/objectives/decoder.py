"""A small decoder that writes a text from one row (TSDAE, Wang et al. 2021)."""

from collections.abc import Callable, Sequence

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear
from torch.utils.checkpoint import checkpoint

from .word_masks import Ids

# Logits of so many pieces at once: with 30,000 of them to choose from, 120 MB.
_PORTION = 1024


class TextDecoder(nn.Module):
    """One layer of a transformer with causal self-attention, which sees nothing of the text to be written but one row.
    What it reads and what it predicts with is one table of embeddings.

    width (int): Of the row.
    longest (int): The most pieces of a text.
    n_predicted (int): The first so many pieces of the table are predicted; a later one is read only.
    table (Optional[Callable[[], Tensor]]): Gives embeddings that live elsewhere, shape (n, any width), and are not
        trained from here. null for an own table with one more piece than are predicted.
    """

    def __init__(self, width: int, longest: int, n_predicted: int, table: Callable[[], Tensor] | None = None) -> None:
        super().__init__()
        self._borrowed, self._n_predicted = table, n_predicted
        self.own = None if table else nn.Embedding(n_predicted + 1, width)
        self.positions = nn.Embedding(longest, width)
        for part in (self.own, self.positions):
            if part is not None:
                nn.init.normal_(part.weight, std=width**-0.5)
        table_width = self.table.shape[1]
        self.enter = nn.Identity() if table_width == width else nn.Linear(table_width, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.layer = nn.TransformerDecoderLayer(
            width, n_heads(width), 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, table_width)
        self.bias = nn.Parameter(torch.zeros(n_predicted))

    @property
    def table(self) -> Tensor:
        """RETURNS (Tensor): The embeddings, shape (n, width of the table)."""
        if self.own is not None:
            return self.own.weight
        assert self._borrowed is not None
        return self._borrowed().detach()

    def forward(self, rows: Tensor, texts: Sequence[Ids]) -> tuple[Tensor, int]:
        """Write texts, each piece after those that truly stand before it.

        rows (Tensor): A row of each text, shape (n, width).
        texts (Sequence[NDArray[int64]]): Its pieces, one at least.
        RETURNS (Tuple[Tensor, int]): Mean negative log-likelihood of the pieces that are predicted, and their number.
        """
        shape = len(texts), max(map(len, texts))
        # What fills up is no piece that is predicted.
        ids = numpy.full(shape, self._n_predicted, dtype=numpy.int64)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = text
        targets = torch.from_numpy(ids).to(rows.device)
        is_predicted = targets < self._n_predicted
        states = self.states(rows, targets)[is_predicted]
        return self._loss(states, targets[is_predicted]), len(states)

    def states(self, rows: Tensor, ids: Tensor) -> Tensor:
        """RETURNS (Tensor): What each piece is predicted from, shape (n, length, width of the table).

        rows (Tensor): A row of each text, shape (n, width).
        ids (Tensor): Its pieces, shape (n, length).
        """
        table = self.table
        read = self.enter(embedding(ids[:, :-1].clamp(max=len(table) - 1), table))
        begin = self.start.expand(len(ids), 1, -1)
        given = torch.cat([begin, read], dim=1) + self.positions.weight[: ids.shape[1]]
        future = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=rows.device, dtype=rows.dtype)
        states = self.layer(given, rows[:, None], tgt_mask=future, tgt_is_causal=True)
        return self.leave(self.norm(states))

    def logits(self, states: Tensor) -> Tensor:
        """RETURNS (Tensor): Shape (n, n_predicted), for states of shape (n, width of the table)."""
        return linear(states, self.table[: self._n_predicted], self.bias)

    def _loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """In portions, whose logits are computed again in the backward pass instead of being kept."""
        if len(states) <= _PORTION:
            return cross_entropy(self.logits(states), targets)
        total = states.new_zeros(())
        for some, wanted in zip(states.split(_PORTION), targets.split(_PORTION), strict=True):
            total = total + checkpoint(self._sum, some, wanted, use_reentrant=False, preserve_rng_state=False)
        return total / len(states)

    def _sum(self, states: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(self.logits(states), targets, reduction="sum")


def n_heads(width: int) -> int:
    """RETURNS (int): How many heads share a width: 12 at most, each at least 32 wide, if it can be divided so."""
    return next(n for n in range(12, 0, -1) if width % n == 0 and (width // n >= 32 or n == 1))
