"""Passes of BERT-type encoders without padding: all windows of a batch are one sequence of pieces.

All parts but attention compute each piece by itself: one matrix product serves windows of any length. Attention runs
once for each block of windows of similar length. Modules and weights are those of transformers' own passes, dropout and
adapters included: the states are the same to float precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .buffers import Buffers, can_buffer, can_buffer_embeddings
from .half_weights import half_weights, row_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.models.bert.modeling_bert import BertLayer, BertModel, BertSelfAttention

_BUFFERS = Buffers()

# Encoders with BERT's layout, and their first position number.
_FIRST_POSITION = {
    "BertModel": lambda embeddings: 0,
    "RobertaModel": lambda embeddings: embeddings.padding_idx + 1,
    "XLMRobertaModel": lambda embeddings: embeddings.padding_idx + 1,
    "CamembertModel": lambda embeddings: embeddings.padding_idx + 1,
}


def can_pack(transformer: "PreTrainedModel") -> bool:
    """RETURNS (bool): Whether this is a plain BERT- or RoBERTa-type encoder with absolute positions. All others take
    the padded path."""
    config = transformer.config
    return (
        type(transformer).__name__ in _FIRST_POSITION
        and not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
        and getattr(config, "chunk_size_feed_forward", 0) == 0
    )


def first_position(transformer: "PreTrainedModel") -> int:
    """RETURNS (int): The number of the first position of a window, for an encoder that can be packed."""
    return int(_FIRST_POSITION[type(transformer).__name__](cast("BertModel", transformer).embeddings))


def packed_states(
    transformer: "PreTrainedModel",
    ids: Tensor,
    sizes: NDArray[numpy.int64],
    *,
    begin: int = 0,
    end: int | None = None,
    hidden: Tensor | None = None,
    n_returned: int | None = 1,
    checkpointing: bool = False,
) -> list[Tensor]:
    """Hidden states of windows laid end to end.

    transformer (PreTrainedModel): An encoder for which `can_pack` holds.
    ids (torch.Tensor): Word piece ids, special tokens included, shape (n,).
    sizes (NDArray[int64]): Pieces in every window, windows of equal size side by side, summing to n.
    begin (int): The first layer to run; the layers below have made `hidden`.
    end (Optional[int]): The layer before which to stop; null for none.
    hidden (Optional[torch.Tensor]): States before the first layer, shape (n, width); null for the embeddings.
    n_returned (Optional[int]): How many of the states to return, which are those before the first layer and after every
        layer; null for all.
    checkpointing (bool): Drop what is inside a layer, and compute it again in the backward pass.
    RETURNS (List[torch.Tensor]): States of shape (n, width), the last layer's last.
    """
    bert = cast("BertModel", transformer)
    layers = bert.encoder.layer[begin:end]
    most = len(layers) + 1 if n_returned is None else n_returned
    is_train = torch.is_grad_enabled()
    if hidden is None:
        hidden = _embed(bert, ids, sizes, is_temporary=len(layers) >= most and not is_train)
    layout = _layout(sizes, is_train, ids.device)
    states = [hidden]
    for i, layer in enumerate(layers):
        if not is_train and can_buffer(layer, hidden):
            run = _half_layer if torch.is_autocast_enabled("cpu") else _buffered_layer
            hidden = run(layer, hidden, layout, is_returned=len(layers) - i <= most)
        elif checkpointing and is_train:
            hidden = torch.utils.checkpoint.checkpoint(_layer, layer, hidden, layout, use_reentrant=False)
        else:
            hidden = _layer(layer, hidden, layout)
        states = [*states, hidden][-most:]
    return states


def _embed(transformer: "BertModel", ids: Tensor, sizes: NDArray[numpy.int64], is_temporary: bool) -> Tensor:
    """States before the first layer; in a buffer where only the first layer needs them."""
    embeddings = transformer.embeddings
    first = first_position(transformer)
    begins = numpy.cumsum(sizes) - sizes
    places = numpy.arange(int(sizes.sum())) - numpy.repeat(begins, sizes) + first
    positions, types = torch.from_numpy(places).to(ids.device), torch.zeros_like(ids)
    if is_temporary and can_buffer_embeddings(embeddings, ids):
        total = _BUFFERS.look_up("sum", ids, embeddings.word_embeddings)
        total += _BUFFERS.look_up("query", types, embeddings.token_type_embeddings)
        total += _BUFFERS.look_up("query", positions, embeddings.position_embeddings)
        return _BUFFERS.normalize("hidden", total, embeddings.LayerNorm)
    return embeddings(input_ids=ids[None], position_ids=positions[None], token_type_ids=types[None])[0]


@dataclass(frozen=True)
class _Block:
    """Windows whose attention is computed at once: pieces `begin` to `end`, in a rectangle of `shape` (number of
    windows, longest). Where sizes differ, `at` is the place of every piece, and `mask` is False at padding."""

    begin: int
    end: int
    shape: tuple[int, int]
    at: Tensor | None = None
    mask: Tensor | None = None


def _layout(sizes: NDArray[numpy.int64], is_train: bool, device: torch.device) -> list[_Block]:
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
            blocks.append(_Block(begin, end, shape))
        else:
            inside = numpy.arange(longest)[None] < sizes[first:after, None]
            at = torch.from_numpy(numpy.flatnonzero(inside)).to(device)
            mask = torch.from_numpy(inside[:, None, None]).to(device)
            blocks.append(_Block(begin, end, shape, at, mask))
        first = after
    return blocks


def _layer(layer: "BertLayer", hidden: Tensor, layout: list[_Block]) -> Tensor:
    """One encoder layer with normalisation after each residual sum (Devlin et al. 2019)."""
    own, out = layer.attention.self, layer.attention.output
    context = _attend(own, own.query(hidden), own.key(hidden), own.value(hidden), layout)
    hidden = out(context, hidden)
    return layer.output(layer.intermediate(hidden), hidden)


def _buffered_layer(layer: "BertLayer", hidden: Tensor, layout: list[_Block], is_returned: bool) -> Tensor:
    """The same in prediction, with large temporaries in buffers, and the output too, unless it is returned."""
    own, out = layer.attention.self, layer.attention.output
    query, key, value = (_BUFFERS.linear(name, hidden, getattr(own, name)) for name in ("query", "key", "value"))
    context = _BUFFERS.take("context", *query.shape)
    for block, found in zip(layout, _attentions(own, query, key, value, layout), strict=True):
        context[block.begin : block.end].view(found.shape).copy_(found)
    hidden = _BUFFERS.normalize("middle", _BUFFERS.linear("sum", context, out.dense).add_(hidden), out.LayerNorm)
    wide = _BUFFERS.linear("wide", hidden, layer.intermediate.dense)
    act = layer.intermediate.intermediate_act_fn
    wide = torch.ops.aten.gelu_(wide) if type(act).__name__ == "GELUActivation" else act(wide)
    total, norm = _BUFFERS.linear("sum", wide, layer.output.dense).add_(hidden), layer.output.LayerNorm
    return norm(total) if is_returned else _BUFFERS.normalize("hidden", total, norm)


def _half_layer(layer: "BertLayer", hidden: Tensor, layout: list[_Block], is_returned: bool) -> Tensor:
    """The same under autocast to bfloat16: matrix products and attention in it, sums and norms in float32.

    oneDNN makes a kernel for each number of rows, and keeps it. So rows go in blocks, with some zeros at the end.
    """
    own, weights, (n_rows, width) = layer.attention.self, half_weights(layer), hidden.shape
    blocks = row_blocks(n_rows)
    half = _with_zeros("half", n_rows, width, blocks[-1].stop)
    half[:n_rows].copy_(hidden)
    context = _with_zeros("context", n_rows, width, blocks[-1].stop)
    total = _BUFFERS.take("sum", len(half), width)
    with torch.autocast("cpu", enabled=False):
        if len(blocks) == 1:
            joined = weights.joined(half)
        else:
            joined = _BUFFERS.take("joined", len(half), 3 * width, torch.bfloat16)
            for block in blocks:
                joined[block] = weights.joined(half[block])
        query, key, value = joined[:n_rows].split(width, dim=1)
        for at, found in zip(layout, _attentions(own, query, key, value, layout), strict=True):
            context[at.begin : at.end].view(found.shape).copy_(found)
        for block in blocks:
            total[block] = weights.out(context[block])
        hidden = _BUFFERS.normalize("middle", total[:n_rows].add_(hidden), layer.attention.output.LayerNorm)
        half[:n_rows].copy_(hidden)
        for block in blocks:
            wide = weights.wide(half[block])
            wide = wide if weights.wide.has_gelu else layer.intermediate.intermediate_act_fn(wide)
            total[block] = weights.narrow(wide)
        norm = layer.output.LayerNorm
        total = total[:n_rows].add_(hidden)
        return norm(total) if is_returned else _BUFFERS.normalize("hidden", total, norm)


def _with_zeros(name: str, n_rows: int, width: int, n_whole: int) -> Tensor:
    """A buffer in bfloat16 of whole blocks; what is after the rows is zero."""
    found = _BUFFERS.take(name, n_whole, width, torch.bfloat16)
    if n_whole > n_rows:
        found[n_rows:] = 0.0
    return found


def _attend(own: "BertSelfAttention", query: Tensor, key: Tensor, value: Tensor, layout: list[_Block]) -> Tensor:
    """Attention inside each window."""
    parts = []
    for block, found in zip(layout, _attentions(own, query, key, value, layout), strict=True):
        flat = found.reshape(-1, query.shape[1])
        parts.append(flat if block.at is None else flat.index_select(0, block.at))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attentions(
    own: "BertSelfAttention", query: Tensor, key: Tensor, value: Tensor, layout: list[_Block]
) -> Iterator[Tensor]:
    """The output of attention for every block, shape (windows, longest, heads, size)."""
    heads, size = own.num_attention_heads, own.attention_head_size
    dropout = own.dropout.p if own.training else 0.0
    for block in layout:
        own_rows = [_to_rectangle(x[block.begin : block.end], block) for x in (query, key, value)]
        q, k, v = [rows.view(*block.shape, heads, size).transpose(1, 2) for rows in own_rows]
        yield scaled_dot_product_attention(q, k, v, attn_mask=block.mask, dropout_p=dropout).transpose(1, 2)


def _to_rectangle(pieces: Tensor, block: _Block) -> Tensor:
    if block.at is None:
        return pieces
    count, longest = block.shape
    return pieces.new_zeros(count * longest, pieces.shape[1]).index_copy(0, block.at, pieces)
