"""Layers of encoders seen as BERT's, by their parts: DistilBERT and MPNet have the same parts by other names."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.models.bert.modeling_bert import BertLayer


@dataclass(frozen=True)
class _Sum:
    """What BERT has after attention, and after the wide part."""

    dense: nn.Module
    dropout: nn.Module
    LayerNorm: nn.Module

    def __call__(self, rows: Tensor, hidden: Tensor) -> Tensor:
        total: Tensor = self.LayerNorm(self.dropout(self.dense(rows)) + hidden)
        return total


@dataclass(frozen=True)
class _Wide:
    dense: nn.Module
    intermediate_act_fn: nn.Module

    def __call__(self, hidden: Tensor) -> Tensor:
        rows: Tensor = self.intermediate_act_fn(self.dense(hidden))
        return rows


def layers_of(transformer: "PreTrainedModel") -> "list[BertLayer]":
    """RETURNS (List[BertLayer]): The layers, or for each an object with the same parts by BERT's names.

    RAISES (AttributeError): When they have other parts.
    """
    model: Any = transformer
    return [_as_bert(layer) for layer in (model.transformer if hasattr(model, "transformer") else model.encoder).layer]


def _as_bert(layer: Any) -> "BertLayer":
    view: Any
    if hasattr(layer, "sa_layer_norm"):
        own, ffn = layer.attention, layer.ffn
        after = _Sum(own.out_lin, nn.Identity(), layer.sa_layer_norm)
        wide, last = _Wide(ffn.lin1, ffn.activation), _Sum(ffn.lin2, ffn.dropout, layer.output_layer_norm)
        view = _view(own, "q_lin k_lin v_lin", own.n_heads, after, wide, last)
    elif hasattr(layer.attention, "attn"):
        own, out = layer.attention.attn, layer.attention
        after = _Sum(own.o, out.dropout, out.LayerNorm)
        view = _view(own, "q k v", own.num_attention_heads, after, layer.intermediate, layer.output)
    else:
        view = layer
    return cast("BertLayer", view)


def _view(own: Any, names: str, heads: int, after: _Sum, wide: Any, last: Any) -> SimpleNamespace:
    parts = {new: getattr(own, old) for new, old in zip(("query", "key", "value"), names.split(), strict=True)}
    sizes = {"num_attention_heads": heads, "attention_head_size": own.attention_head_size}
    inner = SimpleNamespace(**parts, **sizes, dropout=own.dropout, training=own.training)
    outer = SimpleNamespace(self=inner, output=after)
    return SimpleNamespace(attention=outer, intermediate=wide, output=last, training=own.training)


def embed(transformer: "PreTrainedModel", ids: Tensor, positions: Tensor) -> Tensor:
    """RETURNS (Tensor): States before the first layer of pieces at these positions, shape (n, width)."""
    own: Any = getattr(transformer, "embeddings")  # noqa: B009
    known = arguments(type(own).forward)
    if "position_ids" in known:
        given = {"input_ids": ids, "position_ids": positions, "token_type_ids": torch.zeros_like(ids)}
        states = own(**{name: tensor[None] for name, tensor in given.items() if name in known})[0]
    else:
        states = own.dropout(own.LayerNorm(own.word_embeddings(ids) + own.position_embeddings(positions)))
    projection = _projection(transformer)
    return cast(Tensor, states if projection is None else projection(states))


def _projection(transformer: "PreTrainedModel") -> nn.Module | None:
    """ELECTRA's; RemBERT's."""
    encoder = getattr(transformer, "encoder", None)
    found = getattr(transformer, "embeddings_project", None), getattr(encoder, "embedding_hidden_mapping_in", None)
    return next((part for part in found if part is not None), None)


def find_bias(transformer: "PreTrainedModel") -> Callable[[Tensor], Tensor] | None:
    """RETURNS (Optional[Callable[[Tensor], Tensor]]): What is added to the scores of attention in each layer, for
    states of shape (1, longest, width)."""
    return getattr(getattr(transformer, "encoder", None), "compute_position_bias", None)


def has_other_parts(transformer: "PreTrainedModel") -> bool:
    """RETURNS (bool): Whether there are parameters in no part that a packed pass knows. They could be without effect at
    first, and get one in training."""
    encoder = getattr(transformer, "encoder", None)
    above = (getattr(transformer, name, None) for name in ("embeddings", "pooler"))
    known = (*above, _projection(transformer), getattr(encoder, "relative_attention_bias", None))
    outer = {p for part in known if part is not None for p in part.parameters()}
    inner = {p for layer in layers_of(transformer) for part in _parts(layer) for p in part.parameters()}
    return any(p not in outer and p not in inner for p in transformer.parameters())


def _parts(layer: "BertLayer") -> Iterator[nn.Module]:
    own, after = layer.attention.self, layer.attention.output
    yield from (own.query, own.key, own.value, after.dense, after.LayerNorm)
    yield from (layer.intermediate.dense, layer.output.dense, layer.output.LayerNorm)


@cache
def arguments(forward: Callable[..., object]) -> frozenset[str]:
    """RETURNS (FrozenSet[str]): Names of what a pass takes."""
    return frozenset(inspect.signature(forward).parameters)
