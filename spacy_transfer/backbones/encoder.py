"""Windows of word pieces -> rows per token, in torch."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from .alignment import Alignment
from .packed import can_pack, packed_states
from .windows import Windows, batch_windows

Precision = Literal["fp32", "bf16"]
Layers = Literal["last", "mix"]


@dataclass(frozen=True)
class Pieces:
    """A batch of docs as word pieces, cut into windows and aligned with tokens.

    ids (NDArray[int64]): Ids of the pieces of all docs, special tokens not among them, shape (n_pieces,).
    windows (Windows): How they are cut.
    alignment (Alignment): Which pieces make up which token.
    n_docs (int): Number of docs.
    """

    ids: NDArray[numpy.int64]
    windows: Windows
    alignment: Alignment
    n_docs: int


class LayerMix(nn.Module):
    """A learned mix of all layers (Peters et al. 2018): gamma times the softmax-weighted sum of the states.

    n_states (int): Number of layers plus one for the embeddings.
    """

    def __init__(self, n_states: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_states))
        self.gamma = nn.Parameter(torch.ones(1))  # Thinc optimizers want at least one axis

    def forward(self, states: list[Tensor]) -> Tensor:
        shares = torch.softmax(self.weights, 0)
        total = shares[0] * states[0]
        for share, state in zip(shares[1:], states[1:], strict=True):
            total = total + share * state
        return self.gamma * total


class Encoder(nn.Module):
    """An encoder of transformers, fed with windows of any length, giving rows per token and per document.

    transformer (nn.Module): An encoder as AutoModel loads it.
    prefix (List[int]), suffix (List[int]): Ids of the special tokens before and after a window.
    pad_id (int): Id that fills up shorter windows.
    layers (str): "last" layer, or a learned "mix" of all.
    """

    def __init__(
        self, transformer: nn.Module, prefix: list[int], suffix: list[int], pad_id: int, layers: Layers
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.config: Any = transformer.config
        self.mix = LayerMix(_n_layers(self.config) + 1) if layers == "mix" else None
        self.prefix, self.suffix, self.pad_id = prefix, suffix, pad_id

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    def forward(
        self, pieces: Pieces, *, max_items: int, precision: Precision, document: Literal["mean", "cls"]
    ) -> tuple[Tensor, Tensor]:
        """Rows of all tokens, laid end to end, and of all docs.

        pieces (Pieces): The batch.
        max_items (int): The most pieces, padding included, that go through the encoder at once.
        precision (str): "fp32", or "bf16" for autocast.
        document (str): What stands for a doc: the "mean" over all states, or the first special token's ("cls");
            of a doc with several windows the mean of theirs.
        RETURNS (Tuple[Tensor, Tensor]): float32, shapes (n_tokens, width) and (n_docs, width). Tokens and docs
            without pieces are zeros.
        """
        windows = pieces.windows
        device = next(self.parameters()).device
        sizes = windows.length + len(self.prefix) + len(self.suffix)
        state_at = numpy.zeros(len(sizes), dtype=numpy.int64)
        found, done = [], 0
        # Packing saves the padding but asks for one attention call a length: on a GPU, calls are what costs.
        packed = not self.training and device.type == "cpu" and can_pack(self.transformer)
        for batch in batch_windows(sizes, max_items, padded=not packed):
            with _autocast(device, precision):
                states, at = (self._packed if packed else self._padded)(pieces, batch, sizes[batch], device)
            found.append(states.float())
            state_at[batch] = at + done
            done += len(states)
        states = found[0] if len(found) == 1 else torch.cat(found) if found else self._nothing(device)
        rows = self._token_rows(states, pieces, state_at)
        return rows, self._document_rows(states, pieces, state_at, sizes, document)

    def _packed(self, pieces: Pieces, batch: NDArray, sizes: NDArray, device: torch.device) -> tuple[Tensor, NDArray]:
        begins = numpy.cumsum(sizes) - sizes
        ids = numpy.empty(int(sizes.sum()), dtype=numpy.int64)
        inner = self._inner_positions(pieces, batch, begins, sizes)
        ids[inner] = pieces.ids[_ranges(pieces.windows.start[batch], pieces.windows.length[batch])]
        self._set_special(ids, begins, sizes)
        states = packed_states(
            self.transformer, torch.from_numpy(ids).to(device), sizes, every_layer=self.mix is not None
        )
        return (states[-1] if self.mix is None else self.mix(states)), begins

    def _padded(self, pieces: Pieces, batch: NDArray, sizes: NDArray, device: torch.device) -> tuple[Tensor, NDArray]:
        longest = int(sizes.max())
        begins = numpy.arange(len(batch)) * longest
        ids = numpy.full(len(batch) * longest, self.pad_id, dtype=numpy.int64)
        inner = self._inner_positions(pieces, batch, begins, sizes)
        ids[inner] = pieces.ids[_ranges(pieces.windows.start[batch], pieces.windows.length[batch])]
        self._set_special(ids, begins, sizes)
        shape = (len(batch), longest)
        inputs = {"input_ids": torch.from_numpy(ids.reshape(shape)).to(device)}
        if int(sizes.min()) < longest:
            mask = numpy.arange(longest)[None] < sizes[:, None]
            inputs["attention_mask"] = torch.from_numpy(mask.astype(numpy.int64)).to(device)
        output = self.transformer(**inputs, output_hidden_states=self.mix is not None, return_dict=True)
        states = output.last_hidden_state if self.mix is None else self.mix(list(output.hidden_states))
        return states.reshape(-1, states.shape[-1]), begins

    def _inner_positions(self, pieces: Pieces, batch: NDArray, begins: NDArray, sizes: NDArray) -> NDArray[numpy.int64]:
        return _ranges(begins + len(self.prefix), pieces.windows.length[batch])

    def _set_special(self, ids: NDArray, begins: NDArray, sizes: NDArray) -> None:
        for i, piece in enumerate(self.prefix):
            ids[begins + i] = piece
        for i, piece in enumerate(self.suffix):
            ids[begins + sizes - len(self.suffix) + i] = piece

    def _nothing(self, device: torch.device) -> Tensor:
        return torch.zeros((0, self.width), device=device)

    def _token_rows(self, states: Tensor, pieces: Pieces, state_at: NDArray) -> Tensor:
        """Every token the mean of the states of its pieces, each read from the window that owns it."""
        owner = pieces.windows.owner
        inside = numpy.arange(len(owner)) - pieces.windows.start[owner] if len(owner) else owner
        state_of = state_at[owner] + len(self.prefix) + inside if len(owner) else owner
        return _bags(states, state_of[pieces.alignment.pieces], pieces.alignment.offsets)

    def _document_rows(
        self, states: Tensor, pieces: Pieces, state_at: NDArray, sizes: NDArray, document: str
    ) -> Tensor:
        doc = pieces.windows.doc
        offsets = numpy.searchsorted(doc, numpy.arange(pieces.n_docs), side="left")
        if document == "cls":
            return _bags(states, state_at, offsets)
        per_window = _bags(states, _ranges(state_at, sizes), numpy.cumsum(sizes) - sizes)
        return _bags(per_window, numpy.arange(len(sizes)), offsets)


def check_precision(precision: str, device: torch.device) -> bool:
    """Whether a device computes in a precision without emulating it.

    precision (str): "fp32" or "bf16".
    device (torch.device): The device.
    RETURNS (bool): False where the precision is missing.
    """
    if precision == "fp32":
        return True
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        from .._compat import cpu_has_bf16

        return cpu_has_bf16()
    return False


def _autocast(device: torch.device, precision: Precision) -> Any:
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def _n_layers(config: Any) -> int:
    return int(config.num_hidden_layers)


def _ranges(begins: NDArray, lengths: NDArray) -> NDArray[numpy.int64]:
    """begin, begin + 1, ... for every begin, `length` numbers each, laid end to end."""
    total = int(lengths.sum())
    return numpy.arange(total) + numpy.repeat(begins - (numpy.cumsum(lengths) - lengths), lengths)


def _bags(states: Tensor, indices: NDArray, offsets: NDArray) -> Tensor:
    """Means of runs of rows by one indexed reduction; an empty run gives zeros."""
    if not len(states) or not len(offsets):
        return torch.zeros((len(offsets), states.shape[1]), device=states.device, dtype=states.dtype)
    index = torch.from_numpy(numpy.ascontiguousarray(indices, dtype=numpy.int64)).to(states.device)
    starts = torch.from_numpy(numpy.ascontiguousarray(offsets, dtype=numpy.int64)).to(states.device)
    return embedding_bag(index, states, starts, mode="mean")
