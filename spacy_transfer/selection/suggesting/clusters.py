"""Rows far from each other (k-means++), and rows in the middle of many (k-means)."""

from collections.abc import Iterator

import numpy

from ...types import Floats, Ints

_CHUNK = 4096
"""How many rows are looked at at once: distances of all to all centers would not fit into memory."""
_ITERATIONS = 15


def spread(rows: Floats, n: int, weights: Floats, others: Floats, seed: int) -> Ints:
    """Draw rows far from each other and from other rows, by k-means++ (Arthur and Vassilvitskii 2007): each with a
    probability that is its squared distance to the nearest row, times its weight.

    rows (Floats): Shape (n_rows, width).
    weights (Floats): Not negative, shape (n_rows,).
    others (Floats): Rows that count as drawn already, shape (n_others, width); there may be none.
    RETURNS (Ints): Indices, n of them, in the order in which they were drawn.
    """
    generator, chosen = numpy.random.default_rng(seed), list[int]()
    nearest = numpy.ones(len(rows)) if not len(others) else _nearest(rows, others)[1]
    free = numpy.ones(len(rows), dtype=bool)
    while len(chosen) < n:
        # Where all that is left has a weight or a distance of 0, any of it will do.
        odds = next(odds for odds in (nearest * weights * free, nearest * free, free) if odds.any()).astype("d")
        i = int(generator.choice(len(rows), p=odds / odds.sum()))
        own = _nearest(rows, rows[i : i + 1])[1]
        nearest = numpy.minimum(nearest, own) if chosen or len(others) else own
        free[i] = False
        chosen.append(i)
    return numpy.array(chosen)


def k_means(rows: Floats, n: int, weights: Floats, seed: int) -> tuple[Ints, Ints]:
    """Clusters by weighted k-means, and the row of each that is nearest to its center.

    rows (Floats): Shape (n_rows, width).
    weights (Floats): Not negative, shape (n_rows,).
    RETURNS (Tuple[Ints, Ints]): The cluster of every row, shape (n_rows,), and an index for each cluster that has rows.
    """
    centers = rows[spread(rows, n, weights, rows[:0], seed)]
    clusters, squares = _nearest(rows, centers)
    for _ in range(_ITERATIONS):
        mass = numpy.bincount(clusters, weights, minlength=n)
        sums = sum(
            (weights[part] * (clusters[part] == numpy.arange(n)[:, None])) @ rows[part] for part in _chunks(len(rows))
        )
        moved = mass > 0
        centers[moved] = sums[moved] / mass[moved, None]
        before = clusters
        clusters, squares = _nearest(rows, centers)
        if (clusters == before).all():
            break
    order = numpy.lexsort((squares, clusters))
    _, first = numpy.unique(clusters[order], return_index=True)
    return clusters, order[first]


def _nearest(rows: Floats, centers: Floats) -> tuple[Ints, Floats]:
    """RETURNS (Tuple[Ints, Floats]): The nearest center of every row, and its squared distance."""
    parts = list(_distances(rows, centers))
    nearest = numpy.concatenate([part.argmin(axis=1) for part in parts])
    return nearest, numpy.concatenate([part.min(axis=1) for part in parts])


def _distances(rows: Floats, centers: Floats) -> Iterator[Floats]:
    sizes = (centers**2).sum(axis=1)
    for chunk in _chunks(len(rows)):
        part = rows[chunk]
        yield numpy.maximum((part**2).sum(axis=1)[:, None] - 2.0 * part @ centers.T + sizes, 0.0)


def _chunks(n_rows: int) -> Iterator[slice]:
    return (slice(begin, begin + _CHUNK) for begin in range(0, n_rows, _CHUNK))
