"""RegressionHead.v1: rows -> numbers for each doc, or for each span of a doc; and their losses."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy
from spacy.tokens import Doc
from thinc.api import Linear, Model, zero_init
from thinc.types import Floats2d

from ..attributes import RowsAttrs
from ..checks import COUNT, require
from ..types import AnyModel, ArrayModule, Floats
from .layers import Activation, ResizeAttrs, grow_output, hidden_layers, init_pooled, states
from .pooling import PoolingKind, build_pooling

Docs = list[Doc]
# Docs alone: a row for each doc. With the first token of each span and the token after its last: a row for each span.
Places = Docs | tuple[Docs, list[list[tuple[int, int]]]]
Loss = Literal["mse", "huber", "pearson"]
# Added to the variance of the predictions, which is 0 for a head that starts from zeros.
_TINY_VARIANCE = 1e-4


@dataclass(kw_only=True)
class RegressionAttrs(ResizeAttrs):
    """Of the head.

    bounded (bool): A setting of `build_regression_head_v1`.
    bounds (Optional[List[float]]): The component's: between what numbers lie.
    mean (List[float]), scale (List[float]): The unit of each target: mean and standard deviation of training.
    """

    bounded: bool
    bounds: list[float] | None = None
    mean: list[float] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """RETURNS (float): The mean of a target of which nothing is known."""
        return sum(self.bounds) / 2 if self.bounds else 0.0


def build_regression_head_v1(
    *,
    tok2vec: Model[list[Doc], Any],
    pooling: list[PoolingKind] = ["mean"],  # noqa: B006 (confection needs a list; it is copied)
    hidden: list[int] = [],  # noqa: B006
    activation: Activation = "relu",
    dropout: float | None = None,
    normalize: bool = False,
    bounded: bool = False,
    nO: int | None = None,
) -> Model[Places, Floats2d]:
    """Pool the rows of a doc or span, pass them through any number of hidden layers, and give a number a target.

    The output layer works in units of the training targets' standard deviation around their mean; both are kept in
    the attributes "mean" and "scale" and saved with the model.

    tok2vec (Model): A backbone, or a listener to one. Rows of documents (`spacy-transfer.DocumentListener.v1`)
        are taken as they are, without pooling; spans have none.
    pooling (List[str]): "mean", "max", "first", "attention"; several are concatenated.
    hidden (List[int]): Widths of the hidden layers.
    activation (str): Of the hidden layers.
    dropout (Optional[float]): Before every layer in training; null for what [training] dropout says.
    normalize (bool): Scale the pooled row to length 1 before the first layer.
    bounded (bool): Squeeze the output between the `bounds` of the component by a scaled sigmoid.
    nO (Optional[int]): Number of targets; filled in at initialisation.
    RETURNS (Model[Union[List[Doc], Tuple[List[Doc], List[List[Tuple[int, int]]]]], Floats2d]): Numbers in the unit of
        the targets, shape (n_docs, n_targets) or (n_spans, n_targets). The backward pass takes gradients with respect
        to `standardize`d numbers.
    """
    require("model", COUNT, nO=nO)
    output: AnyModel = Linear(nO=nO, init_W=zero_init)
    rows: AnyModel = Model("transfer_span_rows", forward_rows, init=init_rows, layers=[tok2vec], dims={"nO": None})
    return Model(
        "transfer_regression_head",
        forward,
        init=init,
        layers=[rows, build_pooling(pooling), hidden_layers(hidden, activation, dropout, normalize), output],
        refs={"tok2vec": tok2vec, "output": output},
        dims={"nO": nO},
        attrs=vars(RegressionAttrs(bounded=bounded, resize_output=resize_output)),
    )


def forward(
    model: Model[Places, Floats2d], places: Places, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], object]]:
    """Numbers in the unit of the targets; the callback takes gradients of standardised ones."""
    xp, own = model.ops.xp, RegressionAttrs.of(model)
    inputs, back_inputs = states(model, places, is_train)
    raw, back_output = model.get_ref("output")(inputs, is_train)
    mean, scale = (xp.asarray(unit, dtype="f") for unit in (own.mean, own.scale))
    if not own.bounded:
        return raw * scale + mean, lambda d: back_inputs(back_output(d))
    low, high = cast(list[float], own.bounds)
    share = model.ops.sigmoid(raw + xp.asarray(_logits(own), dtype="f"))

    def backprop(d: Floats2d) -> object:
        return back_inputs(back_output(cast(Floats, d) * (share * (1 - share) * (high - low) / scale)))

    return low + (high - low) * share, backprop


def init(model: Model[Places, Floats2d], X: object = None, Y: Floats2d | None = None) -> None:
    """Fill in widths. Targets have mean 0 and scale 1 until `set_units` is called."""
    init_pooled(model, X, Y)
    set_units(model, [0.0] * model.get_dim("nO"), [1.0] * model.get_dim("nO"))


def forward_rows(
    model: AnyModel, places: Places, is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], object]]:
    """Rows of whole docs, or views of the rows of spans."""
    (tok2vec,) = model.layers
    if not isinstance(places, tuple):
        whole: tuple[list[Floats2d], Callable[[list[Floats2d]], object]] = tok2vec(places, is_train)
        return whole
    docs, spans = places
    rows, back_rows = tok2vec(docs, is_train)
    parts = [doc_rows[a:b] for doc_rows, own in zip(rows, spans, strict=True) for a, b in own]

    def backprop(d_parts: list[Floats2d]) -> object:
        d_rows = [cast(Floats, model.ops.alloc2f(*doc_rows.shape)) for doc_rows in rows]
        left = iter(d_parts)
        for d_doc, own in zip(d_rows, spans, strict=True):
            for a, b in own:
                d_doc[a:b] += cast(Floats, next(left))
        d_docs: object = back_rows(d_rows)
        return d_docs

    return parts, backprop


def init_rows(model: AnyModel, X: object = None, Y: object = None) -> None:
    """The width is that of the backbone."""
    (tok2vec,) = model.layers
    tok2vec.initialize(X=X)
    model.set_dim("nO", tok2vec.get_dim("nO"), force=True)
    RowsAttrs.of(model).rows_per = RowsAttrs.of(tok2vec).rows_per


def set_units(model: Model[Places, Floats2d], mean: Sequence[float], scale: Sequence[float]) -> None:
    """Set the unit of the output.

    mean (Sequence[float]), scale (Sequence[float]): Mean and standard deviation of each target.
    """
    own = RegressionAttrs.of(model)
    own.mean, own.scale = [float(m) for m in mean], [float(s) for s in scale]


def units(values: Floats, mask: Floats) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the targets.

    values (Floats): Targets, shape (n, n_targets).
    mask (Floats): 0 where a target is missing.
    RETURNS (Tuple[List[float], List[float]]): 0 and 1 for a target that is always missing; a scale of 1 for one that
        never varies.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for column, there in zip(numpy.asarray(values, dtype=numpy.float64).T, numpy.asarray(mask).T, strict=True):
        known = column[there > 0]
        spread = float(known.std()) if len(known) else 0.0
        found[0].append(float(known.mean()) if len(known) else 0.0)
        found[1].append(spread if spread > 1e-9 * max(1.0, float(numpy.abs(known).max(initial=0.0))) else 1.0)
    return found


def standardize(model: Model[Places, Floats2d], values: Floats) -> Floats:
    """RETURNS (Floats): Targets as standard deviations from the mean; same shape."""
    xp, own = model.ops.xp, RegressionAttrs.of(model)
    mean, scale = (xp.asarray(unit, dtype="f") for unit in (own.mean, own.scale))
    standard: Floats = (values - mean) / scale
    return standard


def resize_output(model: Model[Places, Floats2d], n_targets: int) -> Model[Places, Floats2d]:
    """Add targets. Old targets keep weights, mean and scale; new ones have mean 0, or the middle of the bounds, and
    scale 1.
    """
    if model.get_ref("output").has_param("W"):
        grow_output(model, n_targets)
        own = RegressionAttrs.of(model)
        extra = n_targets - len(own.mean)
        set_units(model, own.mean + [own.middle] * extra, own.scale + [1.0] * extra)
    return model


def gains(own: RegressionAttrs) -> list[float]:
    """RETURNS (List[float]): The slope of each prediction, in the unit of its target, for an output near 0."""
    if not own.bounded:
        return list(own.scale)
    low, high = cast(list[float], own.bounds)
    shares = [1 / (1 + math.exp(-logit)) for logit in _logits(own)]
    return [share * (1 - share) * (high - low) for share in shares]


def _logits(own: RegressionAttrs) -> list[float]:
    """The logits of the means, so that a new head predicts the mean; not in the flat ends of the sigmoid."""
    low, high = cast(list[float], own.bounds)
    shares = [min(max((mean - low) / (high - low), 0.01), 0.99) for mean in own.mean]
    return [math.log(share / (1 - share)) for share in shares]


def mean_squared_error(xp: ArrayModule, values: Floats, truths: Floats, mask: Floats) -> tuple[float, Floats]:
    """Squared errors, summed.

    values (Floats): Predictions, shape (n, n_targets).
    mask (Floats): 0 where a target is missing.
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient with respect to the predictions.
    """
    errors: Floats = xp.where(mask > 0, values - truths, 0.0)
    return float((errors * errors).sum()), 2.0 * errors


def huber(xp: ArrayModule, values: Floats, truths: Floats, mask: Floats, delta: float) -> tuple[float, Floats]:
    """Half the squared error up to a distance, a straight line from there, so that outliers pull less (Huber 1964).

    values (Floats): Predictions, shape (n, n_targets).
    mask (Floats): 0 where a target is missing.
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient with respect to the predictions.
    """
    errors: Floats = xp.where(mask > 0, values - truths, 0.0)
    size = xp.abs(errors)
    loss = xp.where(size <= delta, 0.5 * errors * errors, delta * (size - 0.5 * delta))
    return float(loss.sum()), xp.clip(errors, -delta, delta)


def pearson_loss(xp: ArrayModule, values: Floats, truths: Floats, mask: Floats) -> tuple[float, Floats]:
    """1 - Pearson's correlation over the batch, target by target, times the number of its values, so that it is as
    large as a sum over them. But losses of parts of a batch do not add up to the loss of the batch.

    values (Floats): Predictions, shape (n, n_targets).
    truths (Floats): Targets. Less than two, or all the same, give no gradient.
    mask (Floats): 0 where a target is missing.
    RETURNS (Tuple[float, Floats]): Loss, and its gradient with respect to the predictions.
    """
    loss, gradient = 0.0, xp.zeros_like(values)
    for j in range(values.shape[1]):
        there = mask[:, j] > 0
        n = int(there.sum())
        x, y = _centred(values[there, j], n), _centred(truths[there, j], n)
        spread = float((y * y).sum()) if n else 0.0
        if n < 2 or spread < 1e-12:
            continue
        y = y / spread**0.5
        length = ((x * x).sum() + n * _TINY_VARIANCE) ** 0.5
        r = (x @ y) / length
        loss += n * (1.0 - float(r))
        # Both are centred, and so is the gradient.
        gradient[there, j] = -n * (y - r * x / length) / length
    return loss, gradient


def _centred(values: Floats, n: int) -> Floats:
    return values - values.mean() if n else values
