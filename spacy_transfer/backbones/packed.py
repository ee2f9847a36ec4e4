"""The passes of BERT-type encoders without padding: all windows of a batch in one long row of pieces.

Everything but attention works piece by piece, so windows of any length share one matrix product and no
arithmetic is spent on padding. In prediction attention runs once for each run of windows of equal length; in training,
where every call is paid twice, once for all, over a padded rectangle. Same modules and weights as transformers' own
passes, dropout and adapters included: it gives the same states to float precision.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

# Encoders whose layers are laid out like BERT's; the value tells where position numbers begin.
_FIRST_POSITION = {
    "BertModel": lambda embeddings: 0,
    "RobertaModel": lambda embeddings: embeddings.padding_idx + 1,
    "XLMRobertaModel": lambda embeddings: embeddings.padding_idx + 1,
    "CamembertModel": lambda embeddings: embeddings.padding_idx + 1,
}


def can_pack(transformer: "torch.nn.Module") -> bool:
    """Whether an encoder has the structure that `packed_states` knows. Anything unusual takes the padded path.

    transformer (torch.nn.Module): An encoder of transformers.
    RETURNS (bool): True for plain BERT- and RoBERTa-type encoders with absolute positions.
    """
    config: Any = transformer.config
    return (
        type(transformer).__name__ in _FIRST_POSITION
        and not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
        and getattr(config, "chunk_size_feed_forward", 0) == 0
    )


def packed_states(
    transformer: Any,
    ids: "torch.Tensor",
    sizes: NDArray[numpy.int64],
    *,
    begin: int = 0,
    end: int | None = None,
    hidden: "torch.Tensor | None" = None,
    every_layer: bool = False,
    checkpointing: bool = False,
) -> "list[torch.Tensor]":
    """Hidden states of windows laid end to end.

    transformer (torch.nn.Module): An encoder for which `can_pack` holds.
    ids (torch.Tensor): Word piece ids, special tokens included, shape (n,).
    sizes (NDArray[int64]): Pieces in every window, windows of equal size side by side, summing to n.
    begin (int): The first layer to run; the layers below have made `hidden`.
    end (Optional[int]): The layer before which to stop; null for none.
    hidden (Optional[torch.Tensor]): States before the first layer, shape (n, width); null for the embeddings.
    every_layer (bool): Return the states before the first layer and after every layer, not just the last.
    checkpointing (bool): Forget what is inside a layer, and compute it again in the backward pass.
    RETURNS (List[torch.Tensor]): States of shape (n, width), the last layer's last.
    """
    import torch

    if hidden is None:
        hidden = _embed(transformer, ids, sizes)
    layout = _layout(sizes, torch.is_grad_enabled(), ids.device)
    states = [hidden]
    for layer in transformer.encoder.layer[begin:end]:
        if checkpointing and torch.is_grad_enabled():
            hidden = torch.utils.checkpoint.checkpoint(_layer, layer, hidden, layout, use_reentrant=False)
        else:
            hidden = _layer(layer, hidden, layout)
        states = [*states, hidden] if every_layer else [hidden]
    return states


def _embed(transformer: Any, ids: "torch.Tensor", sizes: NDArray[numpy.int64]) -> "torch.Tensor":
    import torch

    first = _FIRST_POSITION[type(transformer).__name__](transformer.embeddings)
    begins = numpy.cumsum(sizes) - sizes
    positions = numpy.arange(int(sizes.sum())) - numpy.repeat(begins, sizes) + first
    return transformer.embeddings(
        input_ids=ids[None],
        position_ids=torch.from_numpy(positions).to(ids.device)[None],
        token_type_ids=torch.zeros_like(ids)[None],
    )[0]


@dataclass(frozen=True)
class _Layout:
    """Where windows lie. Either `runs` (begin, number of windows, size), or a rectangle: `at`, the place of every
    piece in it, its `shape`, and `mask`, False at padding.
    """

    runs: list[tuple[int, int, int]]
    at: "torch.Tensor | None" = None
    shape: tuple[int, int] = (0, 0)
    mask: "torch.Tensor | None" = None


def _layout(sizes: NDArray[numpy.int64], is_train: bool, device: Any) -> _Layout:
    import torch

    runs = _runs(sizes)
    if not is_train or len(runs) == 1:
        return _Layout(runs)
    longest = int(sizes.max())
    inside = numpy.arange(longest)[None] < sizes[:, None]
    at = torch.from_numpy(numpy.flatnonzero(inside)).to(device)
    mask = torch.from_numpy(inside[:, None, None]).to(device)
    return _Layout([], at, (len(sizes), longest), mask)


def _runs(sizes: NDArray[numpy.int64]) -> list[tuple[int, int, int]]:
    edges = numpy.flatnonzero(numpy.concatenate(([True], sizes[1:] != sizes[:-1], [True])))
    begins = numpy.concatenate(([0], numpy.cumsum(sizes)))
    return [(int(begins[a]), int(b - a), int(sizes[a])) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _layer(layer: Any, hidden: "torch.Tensor", layout: _Layout) -> "torch.Tensor":
    """One encoder layer with normalisation after each residual sum (Devlin et al. 2019)."""
    own, out = layer.attention.self, layer.attention.output
    context = _attend(own, own.query(hidden), own.key(hidden), own.value(hidden), layout)
    hidden = out(context, hidden)
    return layer.output(layer.intermediate(hidden), hidden)


def _attend(own: Any, query: Any, key: Any, value: Any, layout: _Layout) -> "torch.Tensor":
    """Every piece attends to the pieces of its own window."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    heads, size = own.num_attention_heads, own.attention_head_size
    dropout = own.dropout.p if own.training else 0.0
    if layout.at is not None:
        (count, longest), at = layout.shape, layout.at
        q, k, v = (
            x.new_zeros(count * longest, heads * size).index_copy(0, at, x).view(count, longest, heads, size)
            for x in (query, key, value)
        )
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        found = scaled_dot_product_attention(q, k, v, attn_mask=layout.mask, dropout_p=dropout)
        return found.transpose(1, 2).reshape(count * longest, heads * size).index_select(0, at)
    parts = []
    for begin, count, length in layout.runs:
        shape = (count, length, heads, size)
        q, k, v = (x[begin : begin + count * length].view(shape).transpose(1, 2) for x in (query, key, value))
        found = scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        parts.append(found.transpose(1, 2).reshape(count * length, heads * size))
    return parts[0] if len(parts) == 1 else torch.cat(parts)
