"""Pooling: rows of tokens -> one row per doc."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from thinc.api import Model
from thinc.types import Floats2d

from ..attributes import Attrs
from ..errors import Errors
from ..types import ArrayModule, Floats

PoolingKind = Literal["mean", "max", "first", "attention"]
Pooler = Model[list[Floats2d], Floats2d]
Backward = Callable[[Floats, Floats, Floats], None]
"""Takes the gradient of a pooled row, and adds to the gradients of the doc's rows and of the query."""


@dataclass(kw_only=True)
class PoolingAttrs(Attrs):
    """Of the node: what `build_pooling` was asked for."""

    kinds: list[PoolingKind]


def build_pooling(kinds: Sequence[PoolingKind]) -> Pooler:
    """One or several poolings, side by side. A doc without tokens gives zeros and takes no gradient.

    kinds (Sequence[str]): "mean", "max" (column by column), "first" (the first token's row), "attention" (the
        mean weighted by the softmax of each row's product with a learned query; Yang et al. 2016, one head).
    RETURNS (Model[List[Floats2d], Floats2d]): Shape (n_docs, width * len(kinds)).
    """
    if not kinds:
        raise ValueError(Errors.T215.format(key="model.pooling", found=kinds, wanted="a list of one kind or more"))
    return Model(
        "transfer_pooling",
        forward,
        init=init,
        dims={"nI": None, "nO": None},
        params={"Q": None},
        attrs=vars(PoolingAttrs(kinds=list(kinds))),
    )


def forward(
    model: Pooler, rows: list[Floats2d], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[Floats2d]]]:
    """Doc by doc, so that no copy of the batch is needed."""
    width, xp = model.get_dim("nI"), model.ops.xp
    query = cast(Floats, model.get_param("Q") if model.has_param("Q") else model.ops.alloc1f(0))
    pooled = cast(Floats, model.ops.alloc2f(len(rows), model.get_dim("nO")))
    backs: list[list[Backward]] = []
    for i, doc in enumerate(rows):
        back = []
        for k, kind in enumerate(PoolingAttrs.of(model).kinds if len(doc) else ()):
            vector, d_vector = POOLINGS[kind](xp, cast(Floats, doc), query)
            pooled[i, k * width : (k + 1) * width] = vector
            back.append(d_vector)
        backs.append(back)

    def backprop(d_pooled: Floats2d) -> list[Floats2d]:
        d_rows, d_query = [], model.ops.alloc1f(width)
        for i, (doc, back) in enumerate(zip(rows, backs, strict=True)):
            d_doc = model.ops.alloc2f(len(doc), width)
            for k, d_vector in enumerate(back):
                d_vector(
                    cast(Floats, d_pooled)[i, k * width : (k + 1) * width], cast(Floats, d_doc), cast(Floats, d_query)
                )
            d_rows.append(d_doc)
        if model.has_param("Q"):
            model.inc_grad("Q", d_query)
        return d_rows

    return cast(Floats2d, pooled), backprop


def init(model: Pooler, X: object = None, Y: object = None) -> None:
    """Needs "nI". Attention starts from a query of zeros, which gives the mean."""
    width, kinds = model.get_dim("nI"), PoolingAttrs.of(model).kinds
    model.set_dim("nO", width * len(kinds), force=True)
    if "attention" in kinds:
        model.set_param("Q", model.ops.alloc1f(width))


def build_unit_length() -> Model[Floats2d, Floats2d]:
    """Scale every row to Euclidean length 1. Sentence encoders are trained on the angle between rows (Reimers and
    Gurevych 2019). A row of zeros is not changed and gets no gradient.
    """
    return Model("transfer_unit_length", forward_unit_length)


def forward_unit_length(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """The gradient has no part along the row."""
    lengths: Floats = model.ops.xp.linalg.norm(X, axis=1, keepdims=True)
    lengths[lengths == 0] = model.ops.xp.inf
    unit = cast(Floats, X) / lengths

    def backprop(d_unit: Floats2d) -> Floats2d:
        d = cast(Floats, d_unit)
        return cast(Floats2d, (d - unit * (unit * d).sum(axis=1, keepdims=True)) / lengths)

    return cast(Floats2d, unit), backprop


def _mean(xp: ArrayModule, doc: Floats, query: Floats) -> tuple[Floats, Backward]:
    def back(d: Floats, d_doc: Floats, d_query: Floats) -> None:
        d_doc += d / len(doc)

    return doc.mean(axis=0), back


def _max(xp: ArrayModule, doc: Floats, query: Floats) -> tuple[Floats, Backward]:
    def back(d: Floats, d_doc: Floats, d_query: Floats) -> None:
        # The argmax is computed here, since predictions do not need it and it is much slower than the maximum.
        d_doc[doc.argmax(axis=0), xp.arange(doc.shape[1])] += d

    return doc.max(axis=0), back


def _first(xp: ArrayModule, doc: Floats, query: Floats) -> tuple[Floats, Backward]:
    def back(d: Floats, d_doc: Floats, d_query: Floats) -> None:
        d_doc[0] += d

    return doc[0], back


def _attention(xp: ArrayModule, doc: Floats, query: Floats) -> tuple[Floats, Backward]:
    scores = doc @ query
    shares = xp.exp(scores - scores.max())
    shares /= shares.sum()

    def back(d: Floats, d_doc: Floats, d_query: Floats) -> None:
        d_shares = doc @ d
        d_scores = shares * (d_shares - shares @ d_shares)
        d_doc += xp.outer(shares, d) + xp.outer(d_scores, query)
        d_query += d_scores @ doc

    return shares @ doc, back


POOLINGS: dict[str, Callable[[ArrayModule, Floats, Floats], tuple[Floats, Backward]]] = {
    "mean": _mean,
    "max": _max,
    "first": _first,
    "attention": _attention,
}
