"""Windows of word pieces -> rows per token, in torch."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from ..row_cache import RowCache, window_key
from .alignment import Alignment
from .layer_split import can_split, lower_states, upper_states
from .module_tree import find_layers
from .packed import can_pack, packed_states
from .probes import options, rows_depend_on_padding
from .windows import Windows, batch_windows

Precision = Literal["fp32", "bf16", "fp16"]
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


@dataclass(frozen=True)
class Pass:
    """How a batch goes through the encoder.

    max_items (int): The most pieces, padding included, that go through at once.
    precision (str): "fp32", or "bf16" or "fp16" for autocast.
    document (str): What stands for a doc: the "mean" over all states, or the first special token's ("cls");
        of a doc with several windows the mean of theirs.
    n_lower (int): How many layers, from the bottom, make the states that `cache` keeps.
    cache (Optional[RowCache]): Keeps those states; null to run all layers.
    checkpointing (bool): Compute what is inside a layer again in the backward pass instead of keeping it.
    """

    max_items: int
    precision: Precision
    document: Literal["mean", "cls"]
    n_lower: int = 0
    cache: RowCache | None = None
    checkpointing: bool = False


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

    @cached_property
    def n_layers(self) -> int:
        """How many layers have weights of their own."""
        found = find_layers(self.transformer)
        return _n_layers(self.config) if found is None else found.count

    @property
    def width(self) -> int:
        # OPT projects its last states once more.
        return int(getattr(self.config, "word_embed_proj_dim", None) or self.config.hidden_size)

    def forward(self, pieces: Pieces, how: Pass) -> tuple[Tensor, Tensor]:
        """Rows of all tokens, laid end to end, and of all docs.

        how (Pass): In what portions, precision and from which layer on.
        RETURNS (Tuple[Tensor, Tensor]): float32, shapes (n_tokens, width) and (n_docs, width). Tokens and docs
            without pieces are zeros.
        """
        device = next(self.parameters()).device
        ids, begins, sizes = self._lay(pieces)
        state_at = numpy.zeros(len(sizes), dtype=numpy.int64)
        found, done = [], 0
        # Packing saves the padding but asks for calls of its own: on a GPU, calls are what costs.
        packed = device.type == "cpu" and can_pack(self.transformer)
        run = self._packed if packed else self._padded
        equal = not packed and len(set(sizes.tolist())) > 1 and self._wants_equal_sizes
        for batch in batch_windows(sizes, how.max_items, padded=not packed, equal=equal):
            portion = _Portion(ids[_ranges(begins[batch], sizes[batch])], sizes[batch], device)
            with autocast_to(device, how.precision):
                states, at = run(portion, how)
            found.append(states.float())
            state_at[batch] = at + done
            done += len(states)
        states = found[0] if len(found) == 1 else torch.cat(found) if found else self._nothing(device)
        rows = self._token_rows(states, pieces, state_at)
        return rows, self._document_rows(states, pieces, state_at, sizes, how.document)

    @cached_property
    def _wants_equal_sizes(self) -> bool:
        return not can_pack(self.transformer) and rows_depend_on_padding(self.transformer)

    @cached_property
    def _can_split(self) -> bool:
        return can_split(self.transformer)

    def _lay(self, pieces: Pieces) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.int64]]:
        """The ids of all windows end to end, special tokens in their places; where windows begin; how long they are."""
        windows, n_prefix, n_suffix = pieces.windows, len(self.prefix), len(self.suffix)
        sizes = windows.length + n_prefix + n_suffix
        begins = numpy.cumsum(sizes) - sizes
        ids = numpy.empty(int(sizes.sum()), dtype=numpy.int64)
        ids[_ranges(begins + n_prefix, windows.length)] = pieces.ids[_ranges(windows.start, windows.length)]
        for i, piece in enumerate(self.prefix):
            ids[begins + i] = piece
        for i, piece in enumerate(self.suffix):
            ids[begins + sizes - n_suffix + i] = piece
        return ids, begins, sizes

    def _packed(self, portion: "_Portion", how: Pass) -> tuple[Tensor, NDArray[numpy.int64]]:
        def lower(part: _Portion) -> Tensor:
            return packed_states(self.transformer, part.tensor, part.sizes, end=how.n_lower)[-1]

        kept = self._kept(how)
        states = packed_states(
            self.transformer,
            portion.tensor,
            portion.sizes,
            begin=0 if kept is None else how.n_lower,
            hidden=None if kept is None else self._kept_states(portion, kept, lower),
            every_layer=self.mix is not None,
            checkpointing=how.checkpointing,
        )
        return (states[-1] if self.mix is None else self.mix(states)), portion.begins

    def _padded(self, portion: "_Portion", how: Pass) -> tuple[Tensor, NDArray[numpy.int64]]:
        def lower(part: _Portion) -> Tensor:
            states = lower_states(self.transformer, how.n_lower, **part.rectangle(self.pad_id))
            return states.reshape(-1, states.shape[-1])[part.inside]

        inputs = portion.rectangle(self.pad_id)
        # transformers' checkpointing runs layers again from what they were called with: from other states than these.
        kept = None if how.checkpointing else self._kept(how)
        if kept is not None and self._can_split:
            flat = self._kept_states(portion, kept, lower)
            hidden = flat.new_zeros(portion.count * portion.longest, flat.shape[1])
            hidden[portion.inside] = flat
            hidden = hidden.view(portion.count, portion.longest, -1)
            states = upper_states(self.transformer, how.n_lower, hidden, **inputs)
        else:
            output = self.transformer(**inputs, output_hidden_states=self.mix is not None, **options(self.transformer))
            states = output.last_hidden_state if self.mix is None else self.mix(list(output.hidden_states))
        return states.reshape(-1, states.shape[-1]), numpy.arange(portion.count) * portion.longest

    def _kept(self, how: Pass) -> RowCache | None:
        """A mix of all layers wants the states of all of them anew."""
        return how.cache if self.mix is None and how.n_lower < self.n_layers else None

    def _kept_states(self, portion: "_Portion", cache: RowCache, lower: Callable[["_Portion"], Tensor]) -> Tensor:
        """States at the boundary, laid end to end: from the cache, and by one pass for the windows it lacks."""

        def make(lacking: list[int]) -> list[NDArray[numpy.float32]]:
            part = portion.select(numpy.array(lacking))
            with torch.no_grad():
                return numpy.split(lower(part).float().cpu().numpy(), part.begins[1:])

        kept = cache.gather([window_key(ids) for ids in portion.windows()], make)
        return torch.from_numpy(numpy.concatenate(kept)).to(portion.device)

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


class _Portion:
    """Windows that go through the encoder at once.

    ids (NDArray[int64]): Their pieces, end to end, shape (n,).
    sizes (NDArray[int64]): How many pieces each has, largest first, shape (n_windows,).
    device (torch.device): Where they are needed.
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
        """Places of the pieces in a rectangle of shape (count, longest), flattened."""
        places = _ranges(numpy.arange(self.count) * self.longest, self.sizes)
        return torch.from_numpy(places).to(self.device)

    def windows(self) -> list[NDArray[numpy.int64]]:
        return [self.ids[begin : begin + size] for begin, size in zip(self.begins, self.sizes, strict=True)]

    def select(self, which: NDArray[numpy.int64]) -> "_Portion":
        return _Portion(self.ids[_ranges(self.begins[which], self.sizes[which])], self.sizes[which], self.device)

    def rectangle(self, pad_id: int) -> dict[str, Tensor]:
        """RETURNS (Dict[str, Tensor]): What transformers' encoders take; no mask where there is no padding."""
        shape = (self.count, self.longest)
        ids = torch.full((self.count * self.longest,), pad_id, dtype=torch.int64, device=self.device)
        ids[self.inside] = self.tensor
        inputs = {"input_ids": ids.view(shape)}
        if int(self.sizes.min()) < self.longest:
            mask = torch.zeros_like(ids)
            mask[self.inside] = 1
            inputs["attention_mask"] = mask.view(shape)
        return inputs


def check_precision(precision: str, device: torch.device) -> bool:
    """Whether a device computes in a precision without emulating it.

    precision (str): "fp32", "bf16" or "fp16".
    RETURNS (bool): False where the precision is missing.
    """
    if precision == "fp32":
        return True
    if precision == "fp16":
        return device.type == "cuda"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        from ..._compat import cpu_has_bf16

        return cpu_has_bf16()
    return False


def autocast_to(device: torch.device, precision: Precision) -> Any:
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, dtype=dtypes[precision]) if precision in dtypes else nullcontext()


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
