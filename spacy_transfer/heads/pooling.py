"""Rows of tokens -> one row per doc."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from thinc.api import Model
from thinc.types import Floats1d, Floats2d

from ..errors import Errors

PoolingKind = Literal["mean", "max", "first", "attention"]


def build_pooling(kinds: Sequence[PoolingKind]) -> Model[list[Floats2d], Floats2d]:
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
        attrs={"kinds": list(kinds)},
    )


def forward(
    model: Model[list[Floats2d], Floats2d], rows: list[Floats2d], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[Floats2d]]]:
    """Pools doc by doc: views into the batch are read where they are, and nothing is copied together."""
    width, xp = model.get_dim("nI"), model.ops.xp
    query = model.get_param("Q") if model.has_param("Q") else None
    pooled: Any = model.ops.alloc2f(len(rows), model.get_dim("nO"))
    backs: list[list[Callable]] = []
    for i, doc in enumerate(rows):
        back = []
        for k, kind in enumerate(model.attrs["kinds"] if len(doc) else ()):
            vector, d_vector = POOLINGS[kind](xp, doc, query)
            pooled[i, k * width : (k + 1) * width] = vector
            back.append(d_vector)
        backs.append(back)

    def backprop(d_pooled: Floats2d) -> list[Floats2d]:
        d_rows, d_query = [], model.ops.alloc1f(width)
        for i, (doc, back) in enumerate(zip(rows, backs, strict=True)):
            d_doc: Any = model.ops.alloc2f(len(doc), width)
            for k, d_vector in enumerate(back):
                d_vector(d_pooled[i, k * width : (k + 1) * width], d_doc, d_query)
            d_rows.append(d_doc)
        if query is not None:
            model.inc_grad("Q", d_query)
        return d_rows

    return pooled, backprop


def init(model: Model[list[Floats2d], Floats2d], X: Any = None, Y: Any = None) -> None:
    """Needs "nI". Attention starts from a query of zeros, which is the mean."""
    width = model.get_dim("nI")
    model.set_dim("nO", width * len(model.attrs["kinds"]), force=True)
    if "attention" in model.attrs["kinds"]:
        model.set_param("Q", model.ops.alloc1f(width))


def build_unit_length() -> Model[Floats2d, Floats2d]:
    """Scale every row to Euclidean length 1. Sentence encoders are trained on the angle between rows (Reimers and
    Gurevych 2019); a row of zeros stays what it is and takes no gradient.

    RETURNS (Model[Floats2d, Floats2d]): Same shape.
    """
    return Model("transfer_unit_length", forward_unit_length)


def forward_unit_length(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """The gradient loses what points along the row."""
    lengths: Any = model.ops.xp.linalg.norm(X, axis=1, keepdims=True)
    lengths[lengths == 0] = model.ops.xp.inf
    Y: Any = X / lengths

    def backprop(dY: Any) -> Any:
        return (dY - Y * (Y * dY).sum(axis=1, keepdims=True)) / lengths

    return Y, backprop


def _mean(xp: Any, doc: Any, query: Any) -> tuple[Floats1d, Callable]:
    def back(d: Any, d_doc: Any, d_query: Any) -> None:
        d_doc += d / len(doc)

    return doc.mean(axis=0), back


def _max(xp: Any, doc: Any, query: Any) -> tuple[Floats1d, Callable]:
    def back(d: Any, d_doc: Any, d_query: Any) -> None:
        # Here, since a prediction has no use for it, and it takes many times as long as the maximum.
        d_doc[doc.argmax(axis=0), xp.arange(doc.shape[1])] += d

    return doc.max(axis=0), back


def _first(xp: Any, doc: Any, query: Any) -> tuple[Floats1d, Callable]:
    def back(d: Any, d_doc: Any, d_query: Any) -> None:
        d_doc[0] += d

    return doc[0], back


def _attention(xp: Any, doc: Any, query: Any) -> tuple[Floats1d, Callable]:
    scores = doc @ query
    shares = xp.exp(scores - scores.max())
    shares /= shares.sum()

    def back(d: Any, d_doc: Any, d_query: Any) -> None:
        d_shares = doc @ d
        d_scores = shares * (d_shares - shares @ d_shares)
        d_doc += xp.outer(shares, d) + xp.outer(d_scores, query)
        d_query += d_scores @ doc

    return shares @ doc, back


POOLINGS: dict[str, Callable[[Any, Any, Any], tuple[Floats1d, Callable]]] = {
    "mean": _mean,
    "max": _max,
    "first": _first,
    "attention": _attention,
}
