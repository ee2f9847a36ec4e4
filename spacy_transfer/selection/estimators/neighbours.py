"""NearestNeighbours.v1: how well the nearest other rows tell the target of a row."""

from collections.abc import Iterator
from typing import Literal

import numpy

from ...checks import COUNT, require
from ...types import Floats, Ints
from .estimate import Checked, Estimate, Estimator, Targets, check
from .measures import Measure, compare

_BLOCK = 1024
"""Rows whose similarities to all others are in memory at once."""
_MORE = 3
"""Rows beyond k whose distances are computed again: rounding may have changed their order."""


def build_nearest_neighbours_v1(
    *,
    k: int = 5,
    metric: Literal["cosine", "euclidean"] = "cosine",
    weights: Literal["distance", "uniform"] = "distance",
    measure: Measure = "auto",
) -> Estimator:
    """Predict the target of each row from the nearest rows of other documents (leave one out; Cover and Hart 1967).
    Nothing is trained.

    k (int): Neighbours of a row; fewer where there are not so many.
    metric (str): "cosine" (1 - cosine) or "euclidean".
    weights (str): Of neighbours: the inverse of the distance, or all the same. Equal votes go to the class with the
        lowest index.
    measure (str): For classes: "accuracy", "macro_f1" or "auto" (macro F1 where one class has more than half of the
        rows). Several labels are measured by macro F1, numbers by R^2.
    RETURNS (Callable[[Floats, Targets], Estimate]): The estimator. Its score has parts.
    """
    require("estimator", COUNT, k=k)

    def estimate(rows: Floats, targets: Targets) -> Estimate:
        return _estimate(check(rows, targets), k, metric == "cosine", weights == "uniform", measure)

    return estimate


def _estimate(checked: Checked, k: int, is_cosine: bool, is_uniform: bool, wanted: Measure) -> Estimate:
    predicted = numpy.empty_like(checked.truths)
    for here, nearest, distances in _nearest(checked, k, is_cosine):
        found = numpy.isfinite(distances)
        shares = found / (1.0 if is_uniform else numpy.maximum(distances, 1e-12))
        # Counted before they are divided, so that equal votes are equal.
        predicted[here] = (shares[:, None] @ checked.truths[nearest])[:, 0] / shares.sum(axis=1, keepdims=True)
    return compare(checked, predicted, wanted)


def _nearest(checked: Checked, k: int, is_cosine: bool) -> Iterator[tuple[slice, Ints, Floats]]:
    """For blocks of rows the indices and distances of the nearest ones, nearest first; infinite where there are none.

    Single precision finds a few more than k. These are put in order in double precision.
    """
    import torch

    rows = checked.rows
    if is_cosine:
        rows = rows / numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    else:
        rows = rows - rows.mean(axis=0)
    rough, groups = torch.as_tensor(rows, dtype=torch.float32), torch.as_tensor(checked.groups)
    halves, most = -0.5 * rough.square().sum(1), min(k + _MORE, len(rows))
    is_alone, space = len(groups.unique()) == len(rows), rough.new_empty(min(_BLOCK, len(rows)), len(rows))
    for start in range(0, len(rows), _BLOCK):
        here = slice(start, start + _BLOCK)
        # Minus half of the squared distance, but for a constant of the row.
        near = torch.addmm(halves, rough[here], rough.T, out=space[: len(rough[here])])
        if is_alone:
            near.diagonal(start).fill_(-numpy.inf)
        else:
            near.masked_fill_(groups[here, None] == groups, -numpy.inf)
        best, indices = near.topk(most)
        found = indices.numpy()
        gaps = rows[here, None] - rows[found]
        squares = numpy.einsum("nkw,nkw->nk", gaps, gaps)
        distances = squares / 2 if is_cosine else numpy.sqrt(squares)
        distances[numpy.isneginf(best.numpy())] = numpy.inf
        order = numpy.lexsort((found, distances), axis=1)[:, :k]
        yield here, numpy.take_along_axis(found, order, axis=1), numpy.take_along_axis(distances, order, axis=1)
