"""From windows of word pieces to rows of tokens, in torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from ..cached_rows.row_cache import RowCache, window_key
from ..shims.aligned_memory import as_tensor
from .layers.layer_split import can_split, find_ending, lower_states, upper_output
from .layers.module_tree import find_layers
from .packed import can_pack, packed_states
from .packing.trial_pass import Way, find_way
from .pieces import Pieces, ranges
from .portions import Joined, Portion
from .precision import Precision, autocast_to
from .probes import options, rows_depend_on_padding
from .windows import batch_windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Layers = Literal["last", "mix"] | int


@dataclass(frozen=True)
class Pass:
    """Settings of one pass of the encoder.

    max_items (int): The most pieces, padding included, in one batch of windows.
    precision (str): "fp32", or "bf16" or "fp16" for autocast.
    document (str): The document row: the "mean" of all states, or the state of the first special token ("cls"), the
        mean over windows where a doc has several.
    n_lower (int): Number of lower layers whose output `cache` keeps.
    cache (Optional[RowCache]): None to run all layers.
    checkpointing (bool): Compute what is inside a layer again in the backward pass instead of keeping it.
    every_layer (bool): Give the states of all depths side by side, whatever `layers` says. Without a cache.
    """

    max_items: int
    precision: Precision
    document: Literal["mean", "cls"]
    n_lower: int = 0
    cache: RowCache | None = None
    checkpointing: bool = False
    every_layer: bool = False


class LayerMix(nn.Module):
    """A learned mix of all layers (Peters et al. 2018): gamma times the softmax-weighted sum of the states, which are
    those of the layers and of the embeddings."""

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
    """An encoder of transformers that gives rows of tokens and documents for windows of any length.

    prefix (List[int]), suffix (List[int]): Ids of the special tokens before and after a window.
    layers (Union[str, int]): "last" layer, a learned "mix" of all, or a number of top layers side by side.
    """

    def __init__(
        self, transformer: "PreTrainedModel", prefix: list[int], suffix: list[int], pad_id: int, layers: Layers
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.config = transformer.config
        self.mix = LayerMix(int(self.config.num_hidden_layers) + 1) if layers == "mix" else None
        self.n_top = layers if isinstance(layers, int) else 1
        self.prefix, self.suffix, self.pad_id = prefix, suffix, pad_id

    @cached_property
    def n_layers(self) -> int:
        """Number of layers with weights of their own."""
        found = find_layers(self.transformer)
        return int(self.config.num_hidden_layers) if found is None else found.count

    @property
    def width(self) -> int:
        """RETURNS (int): Width of the rows."""
        return self.n_top * self.layer_width

    @property
    def layer_width(self) -> int:
        """RETURNS (int): Width of the last layer's states."""
        # OPT projects its last states once more.
        return int(getattr(self.config, "word_embed_proj_dim", None) or self.config.hidden_size)

    @property
    def depths(self) -> list[int | None]:
        """RETURNS (List[Optional[int]]): Numbers of bottom layers whose rows one pass gives: all; or null alone, for
        the whole encoder, where layers cannot be told apart."""
        return [None] if self._ending is None else [*range(1, self.n_layers + 1)]

    @cached_property
    def _ending(self) -> nn.Module | None:
        return find_ending(self.transformer)

    def forward(self, pieces: Pieces, how: Pass) -> tuple[Tensor, Tensor]:
        """Rows of all tokens, doc after doc, and of all docs.

        RETURNS (Tuple[Tensor, Tensor]): float32, shapes (n_tokens, width) and (n_docs, width). Tokens and docs
            without pieces are zeros.
        """
        states, state_at, sizes = self._states(pieces, how)
        rows = _bags(
            states, pieces.states(state_at, len(self.prefix))[pieces.alignment.pieces], pieces.alignment.offsets
        )
        return rows, self._document_rows(states, pieces, state_at, sizes, how.document)

    def rows_of_depths(self, pieces: Pieces, how: Pass) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The rows of encoders with fewer layers, in one pass.

        RETURNS (List[Tuple[Tensor, Tensor, Tensor]]): For each of `depths`: rows of all tokens; means of all states of
            each doc; states of its first special token.
        """
        wide, state_at, sizes = self._states(pieces, how)
        at, windows = pieces.states(state_at, len(self.prefix))[pieces.alignment.pieces], pieces.windows
        empty, found = torch.from_numpy(windows.doc[windows.length == 0]), []
        for states in wide.split(self.layer_width, dim=1):
            states = states.contiguous()
            mean, first = (self._document_rows(states, pieces, state_at, sizes, name) for name in ("mean", "cls"))
            mean[empty.to(mean.device)] = 0.0  # As without a window of special tokens.
            found.append((_bags(states, at, pieces.alignment.offsets), mean, first))
        return found

    def piece_states(self, pieces: Pieces, how: Pass) -> Tensor:
        """States of all word pieces after the last layer, or their mix, each from the window that owns it.

        pieces (Pieces): The batch.
        how (Pass): In what portions and precision.
        RETURNS (Tensor): float32, shape (n_pieces, width).
        """
        states, state_at, _ = self._states(pieces, how)
        states = states[:, -self.layer_width :]
        return states[torch.from_numpy(pieces.states(state_at, len(self.prefix))).to(states.device)]

    def _states(self, pieces: Pieces, how: Pass) -> tuple[Tensor, NDArray[numpy.int64], NDArray[numpy.int64]]:
        """States of all windows, special tokens included; where those of each window begin; sizes of the windows."""
        device = next(self.parameters()).device
        ids, begins, sizes = pieces.joined(self.prefix, self.suffix)
        state_at = numpy.zeros(len(sizes), dtype=numpy.int64)
        found, done = [], 0
        # Packing saves padding, but needs more calls, which take most of the time on a GPU.
        way = self._way if device.type == "cpu" else None
        # transformers' checkpointing runs layers again in the backward pass, with attention as it is there.
        way = None if way == "attention" and how.checkpointing else way
        run = self._packed if way == "layers" else self._padded
        equal = way is None and len(set(sizes.tolist())) > 1 and self._wants_equal_sizes
        # Tables of positions may not be read beyond their end.
        most = min(how.max_items, self._longest) if way == "attention" else how.max_items
        for batch in batch_windows(sizes, most, padded=way is None, equal=equal):
            own = sizes[batch]
            # A little padding costs less than calls for each size.
            is_ragged = own.sum() < 0.9 * len(own) * own[0]
            kind = Joined if way == "attention" and is_ragged else Portion
            portion = kind(ids[ranges(begins[batch], own)], own, device)
            with autocast_to(device, how.precision):
                states, at = run(portion, how)
            found.append(states.float())
            state_at[batch] = at + done
            done += len(states)
        nothing = torch.zeros((0, self._n_joined(how) * self.layer_width), device=device)
        states = found[0] if len(found) == 1 else torch.cat(found) if found else nothing
        return states, state_at, sizes

    @cached_property
    def _way(self) -> Way | None:
        return find_way(self.transformer)

    @property
    def _longest(self) -> int:
        return int(getattr(self.config, "max_position_embeddings", None) or 2**31)

    @cached_property
    def _wants_equal_sizes(self) -> bool:
        # On a GPU these are padded, too. There its float formats could hide that their rows are the same.
        return not can_pack(self.transformer) and rows_depend_on_padding(self.transformer)

    @cached_property
    def _can_split(self) -> bool:
        return can_split(self.transformer)

    def _packed(self, portion: Portion, how: Pass) -> tuple[Tensor, NDArray[numpy.int64]]:
        def lower(part: Portion) -> Tensor:
            return packed_states(self.transformer, part.tensor, part.sizes, end=n_lower)[-1]

        n_lower, kept = self._kept(how)
        states = packed_states(
            self.transformer,
            portion.tensor,
            portion.sizes,
            begin=n_lower,
            hidden=None if kept is None else self._kept_states(portion, kept, lower),
            n_returned=None if self._is_mixed(how) else self._n_joined(how),
            checkpointing=how.checkpointing,
        )
        return self._join(states, how), portion.begins

    def _padded(self, portion: Portion, how: Pass) -> tuple[Tensor, NDArray[numpy.int64]]:
        def lower(part: Portion) -> Tensor:
            with part.attention():
                states = lower_states(self.transformer, n_lower, **part.inputs(self.pad_id))
            return states.reshape(-1, states.shape[-1])[part.inside]

        inputs = portion.inputs(self.pad_id)
        # transformers' checkpointing calls layers again with the arguments of the first call: other states than these.
        n_lower, kept = (0, None) if how.checkpointing else self._kept(how)
        several = self._is_mixed(how) or self._n_joined(how) > 1
        if kept is not None and self._can_split:
            flat = self._kept_states(portion, kept, lower)
            hidden = flat.new_zeros(portion.shape[0] * portion.shape[1], flat.shape[1])
            hidden[portion.inside] = flat
            hidden = hidden.view(*portion.shape, -1)
            with portion.attention():
                output = upper_output(self.transformer, n_lower, hidden, output_hidden_states=several, **inputs)
        else:
            with portion.attention():
                output = self.transformer(**inputs, output_hidden_states=several, **options(self.transformer))
        last = cast(Tensor, output.last_hidden_state)
        found = cast("tuple[Tensor, ...]", output.hidden_states if several else ())
        if several and not self._is_mixed(how):
            below = found[-self._n_joined(how) : -1]
            found = (*(below if self._ending is None else map(self._ending, below)), last)
        states = self._join([*found] if several else [last], how)
        return states.reshape(-1, states.shape[-1]), portion.starts

    def _join(self, states: list[Tensor], how: Pass) -> Tensor:
        """What rows are made of: the mix of all states, or the top ones side by side."""
        if self.mix is not None and self._is_mixed(how):
            return self.mix(states)
        return states[0] if len(states) == 1 else torch.cat(states, dim=-1)

    def _is_mixed(self, how: Pass) -> bool:
        return self.mix is not None and not how.every_layer

    def _n_joined(self, how: Pass) -> int:
        """The states of how many layers lie side by side."""
        return len(self.depths) if how.every_layer else self.n_top

    def _kept(self, how: Pass) -> tuple[int, RowCache | None]:
        """How many lower layers need not be run, and what keeps their states. A mix needs the states of all layers,
        which change."""
        n_lower = min(how.n_lower, self.n_layers - self.n_top)
        is_kept = how.cache is not None and self.mix is None and n_lower > 0
        return (n_lower, how.cache) if is_kept else (0, None)

    def _kept_states(self, portion: Portion, cache: RowCache, lower: Callable[[Portion], Tensor]) -> Tensor:
        """States at the boundary, window after window: from the cache, and by one pass for missing windows."""

        def make(missing: list[int]) -> list[NDArray[numpy.float32]]:
            part = portion.select(numpy.array(missing))
            with torch.no_grad():
                return numpy.split(lower(part).float().cpu().numpy(), part.begins[1:])

        kept = cache.gather([window_key(ids) for ids in portion.windows()], make)
        return as_tensor(numpy.concatenate(kept), portion.device)

    def _document_rows(
        self, states: Tensor, pieces: Pieces, state_at: NDArray, sizes: NDArray, document: str
    ) -> Tensor:
        doc = pieces.windows.doc
        offsets = numpy.searchsorted(doc, numpy.arange(pieces.n_docs), side="left")
        if document == "cls":
            return _bags(states, state_at, offsets)
        per_window = _bags(states, ranges(state_at, sizes), numpy.cumsum(sizes) - sizes)
        return _bags(per_window, numpy.arange(len(sizes)), offsets)


def _bags(states: Tensor, indices: NDArray, offsets: NDArray) -> Tensor:
    """Means of runs of rows; zeros for an empty run."""
    if not len(states) or not len(offsets):
        return torch.zeros((len(offsets), states.shape[1]), device=states.device, dtype=states.dtype)
    index = torch.from_numpy(numpy.ascontiguousarray(indices, dtype=numpy.int64)).to(states.device)
    starts = torch.from_numpy(numpy.ascontiguousarray(offsets, dtype=numpy.int64)).to(states.device)
    return embedding_bag(index, states, starts, mode="mean")
