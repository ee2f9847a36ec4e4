"""The forward pass of BERT-type encoders without padding: all windows of a batch in one long row of pieces.

Everything but attention works piece by piece, so windows of any length share one matrix product and no
arithmetic is spent on padding; attention runs once for each run of windows of equal length. Same modules and
weights as transformers' own forward pass, in prediction only: it gives the same states to float precision.
"""

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
    transformer: Any, ids: "torch.Tensor", sizes: NDArray[numpy.int64], every_layer: bool
) -> "list[torch.Tensor]":
    """Hidden states of windows laid end to end.

    transformer (torch.nn.Module): An encoder for which `can_pack` holds, in evaluation mode.
    ids (torch.Tensor): Word piece ids, special tokens included, shape (n,).
    sizes (NDArray[int64]): Pieces in every window, windows of equal size side by side, summing to n.
    every_layer (bool): Return the states after the embeddings and after every layer, not just the last.
    RETURNS (List[torch.Tensor]): States of shape (n, width), the last layer's last.
    """
    import torch

    first = _FIRST_POSITION[type(transformer).__name__](transformer.embeddings)
    begins = numpy.cumsum(sizes) - sizes
    positions = numpy.arange(int(sizes.sum())) - numpy.repeat(begins, sizes) + first
    hidden = transformer.embeddings(
        input_ids=ids[None],
        position_ids=torch.from_numpy(positions).to(ids.device)[None],
        token_type_ids=torch.zeros_like(ids)[None],
    )[0]
    runs = _runs(sizes)
    states = [hidden]
    for layer in transformer.encoder.layer:
        hidden = _layer(layer, hidden, runs)
        states = [*states, hidden] if every_layer else [hidden]
    return states


def _runs(sizes: NDArray[numpy.int64]) -> list[tuple[int, int, int]]:
    """Begin, number of windows and window size of every run of windows of equal size."""
    edges = numpy.flatnonzero(numpy.concatenate(([True], sizes[1:] != sizes[:-1], [True])))
    begins = numpy.concatenate(([0], numpy.cumsum(sizes)))
    return [(int(begins[a]), int(b - a), int(sizes[a])) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _layer(layer: Any, hidden: "torch.Tensor", runs: list[tuple[int, int, int]]) -> "torch.Tensor":
    """One encoder layer with normalisation after each residual sum (Devlin et al. 2019)."""
    from torch.nn.functional import scaled_dot_product_attention

    own, out = layer.attention.self, layer.attention.output
    query, key, value = own.query(hidden), own.key(hidden), own.value(hidden)
    heads, size = own.num_attention_heads, own.attention_head_size
    context = query.new_empty(query.shape)
    for begin, count, length in runs:
        part = slice(begin, begin + count * length)
        shape = (count, length, heads, size)
        q, k, v = (x[part].view(shape).transpose(1, 2) for x in (query, key, value))
        context[part].view(shape).copy_(scaled_dot_product_attention(q, k, v).transpose(1, 2))
    hidden = out.LayerNorm(out.dense(context) + hidden)
    return layer.output.LayerNorm(layer.output.dense(layer.intermediate(hidden)) + hidden)
