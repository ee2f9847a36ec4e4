"""Passes of BERT-type encoders without padding: all windows of a batch are one sequence of pieces.

All parts but attention compute each piece by itself: one matrix product serves windows of any length. Attention runs
once for each block of windows of similar length. Modules and weights are those of transformers' own passes, dropout and
adapters included: the states are the same to float precision.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .buffers import Buffers, can_buffer, can_buffer_embeddings
from .half_weights import half_weights, row_blocks
from .packing.blocks import Block, lay_out, positions
from .packing.layouts import embed, find_bias, layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.models.bert.modeling_bert import BertLayer, BertModel, BertSelfAttention

_BUFFERS = Buffers()

# Encoders known to have BERT's layout. Others must pass a trial: see `packing.trial_pass`.
_PLAIN = {"BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel"}


def can_pack(transformer: "PreTrainedModel") -> bool:
    """RETURNS (bool): Whether this is a plain BERT- or RoBERTa-type encoder with absolute positions, of which no
    trial is needed."""
    config = transformer.config
    return (
        type(transformer).__name__ in _PLAIN
        and not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
        and getattr(config, "chunk_size_feed_forward", 0) == 0
    )


def first_position(transformer: "PreTrainedModel") -> int:
    """RETURNS (int): The number of the first position of a window, for an encoder that can be packed."""
    # Only those that count from there on know the padding.
    return int(getattr(cast("BertModel", transformer).embeddings, "padding_idx", -1)) + 1


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

    transformer (PreTrainedModel): An encoder of BERT's layout, by `packing.trial_pass`.
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
    layers = layers_of(transformer)[begin:end]
    most = len(layers) + 1 if n_returned is None else n_returned
    is_train = torch.is_grad_enabled()
    if hidden is None:
        hidden = _embed(transformer, ids, sizes, is_temporary=len(layers) >= most and not is_train)
    layout = _with_bias(lay_out(sizes, is_train, ids.device), find_bias(transformer), hidden)
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


def _embed(transformer: "PreTrainedModel", ids: Tensor, sizes: NDArray[numpy.int64], is_temporary: bool) -> Tensor:
    """States before the first layer; in a buffer where only the first layer needs them."""
    embeddings = cast("BertModel", transformer).embeddings
    places, types = _places(ids, sizes, first_position(transformer)), torch.zeros_like(ids)
    if is_temporary and can_pack(transformer) and can_buffer_embeddings(embeddings, ids):
        total = _BUFFERS.look_up("sum", ids, embeddings.word_embeddings)
        total += _BUFFERS.look_up("query", types, embeddings.token_type_embeddings)
        total += _BUFFERS.look_up("query", places, embeddings.position_embeddings)
        return _BUFFERS.normalize("hidden", total, embeddings.LayerNorm)
    return embed(transformer, ids, places)


def _places(ids: Tensor, sizes: NDArray[numpy.int64], first: int) -> Tensor:
    """The number of each piece's position, shape (n,). As in transformers, encoders that know the padding do not count
    a padding piece that stands inside of a text: it has the number before the first."""
    places = positions(sizes, first, ids.device)
    if not first or not bool((padding := ids == first - 1).any()):
        return places
    counts = padding.cumsum(0)
    begins = torch.from_numpy(numpy.cumsum(sizes) - sizes).to(ids.device)
    before = (counts - padding.long())[begins].repeat_interleave(torch.from_numpy(sizes).to(ids.device))
    return torch.where(padding, first - 1, places - (counts - before))


def _with_bias(layout: list[Block], find: Callable[[Tensor], Tensor] | None, hidden: Tensor) -> list[Block]:
    """Blocks whose masks are what is added to the scores of attention."""
    if find is None:
        return layout
    bias, found = find(hidden[None, : layout[0].shape[1]]), []
    for block in layout:
        own = bias[:, :, : block.shape[1], : block.shape[1]]
        found.append(replace(block, mask=own if block.mask is None else own.masked_fill(~block.mask, -torch.inf)))
    return found


def _layer(layer: "BertLayer", hidden: Tensor, layout: list[Block]) -> Tensor:
    """One encoder layer with normalisation after each residual sum (Devlin et al. 2019)."""
    own, out = layer.attention.self, layer.attention.output
    context = _attend(own, own.query(hidden), own.key(hidden), own.value(hidden), layout)
    hidden = out(context, hidden)
    return layer.output(layer.intermediate(hidden), hidden)


def _buffered_layer(layer: "BertLayer", hidden: Tensor, layout: list[Block], is_returned: bool) -> Tensor:
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


def _half_layer(layer: "BertLayer", hidden: Tensor, layout: list[Block], is_returned: bool) -> Tensor:
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


def _attend(own: "BertSelfAttention", query: Tensor, key: Tensor, value: Tensor, layout: list[Block]) -> Tensor:
    """Attention inside each window."""
    parts = []
    for block, found in zip(layout, _attentions(own, query, key, value, layout), strict=True):
        parts.append(block.flat(found.reshape(-1, query.shape[1])))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attentions(
    own: "BertSelfAttention", query: Tensor, key: Tensor, value: Tensor, layout: list[Block]
) -> Iterator[Tensor]:
    """The output of attention for every block, shape (windows, longest, heads, size)."""
    heads, size = own.num_attention_heads, own.attention_head_size
    dropout = own.dropout.p if own.training else 0.0
    for block in layout:
        q, k, v = [block.rectangle(x).view(*block.shape, heads, size).transpose(1, 2) for x in (query, key, value)]
        mask = block.mask if block.mask is None or block.mask.dtype == torch.bool else block.mask.to(q.dtype)
        yield scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2)
