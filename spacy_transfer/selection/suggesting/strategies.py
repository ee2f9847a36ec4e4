"""Strategies: which texts to label next, by rows and by how unsure the heads are."""

from dataclasses import dataclass
from typing import Literal

import numpy

from ...errors import Errors
from ...types import Floats, Ints
from .clusters import k_means, spread
from .scan import Scan
from .unsure import Measure

Strategy = Literal["auto", "unsure-diverse", "margin", "entropy", "diverse", "cluster"]
BETA = 10
"""Of `unsure-diverse`: how many times n of the most unsure texts are looked at."""


@dataclass(frozen=True)
class Choice:
    """The texts to label, the most useful first.

    strategy (str): The one that was used.
    indices (Ints): Of the texts.
    clusters (Optional[Ints]): Of each chosen text its cluster; None without clusters.
    """

    strategy: Strategy
    indices: Ints
    clusters: Ints | None = None


def measure_of(strategy: Strategy) -> Measure:
    """RETURNS (str): How heads measure that they are unsure."""
    return "entropy" if strategy == "entropy" else "margin"


def choose(found: Scan, n: int, strategy: Strategy, seed: int = 0) -> Choice:
    """Choose texts.

    found (Scan): Of the texts that have no labels.
    n (int): How many; at most as many as there are.
    strategy (str): "margin", "entropy": the most unsure. "diverse": far from each other (k-means++). "cluster": the
        nearest to the centers of n clusters (k-means), those of the largest clusters first. "unsure-diverse": of the
        10 n most unsure by margin, the nearest to the centers of n clusters in which each text weighs as much as it is
        unsure (Zhdanov 2019), the most unsure first. "auto": "unsure-diverse"; without heads "cluster", without rows
        "margin".
    RETURNS (Choice): The choice.
    RAISES (ValueError): When what the strategy needs is not there.
    """
    count = len(found)
    strategy = _resolve(found, strategy)
    if strategy in ("margin", "entropy"):
        assert found.unsure is not None
        return Choice(strategy, _highest(found.unsure, n))
    assert found.rows is not None
    if strategy == "diverse":
        return Choice(strategy, spread(found.rows, n, numpy.ones(count), found.rows[:0], seed))
    if strategy == "cluster":
        return _of_clusters(found.rows, numpy.ones(count), numpy.arange(count), n, strategy, seed)
    assert found.unsure is not None
    return _of_clusters(found.rows, found.unsure, _highest(found.unsure, BETA * n), n, strategy, seed)


def _resolve(found: Scan, strategy: Strategy) -> Strategy:
    """RETURNS (str): Another than "auto", for which all is there that it needs."""
    has_rows, has_heads = found.rows is not None, found.unsure is not None
    if not has_rows and not has_heads:
        raise ValueError(Errors.T932)
    if strategy == "auto":
        return "cluster" if not has_heads else "unsure-diverse" if has_rows else "margin"
    if strategy in ("margin", "entropy", "unsure-diverse") and not has_heads:
        raise ValueError(Errors.T936.format(strategy=strategy, missing="a trained head", can="diverse or cluster"))
    if strategy in ("diverse", "cluster", "unsure-diverse") and not has_rows:
        raise ValueError(Errors.T936.format(strategy=strategy, missing="rows", can="margin or entropy"))
    return strategy


def _highest(values: Floats, n: int) -> Ints:
    return numpy.argsort(-values, kind="stable")[:n]


def _of_clusters(rows: Floats, weights: Floats, candidates: Ints, n: int, strategy: Strategy, seed: int) -> Choice:
    """One text of each cluster, the clusters that weigh most first. There are fewer clusters where rows are alike: the
    rest are those that weigh most."""
    own = weights[candidates]
    clusters, central = k_means(rows[candidates], n, own, seed)
    order = central[numpy.argsort(-numpy.bincount(clusters, own)[clusters[central]], kind="stable")]
    rest = numpy.setdiff1d(_highest(own, len(own)), order, assume_unique=True)
    rest = rest[numpy.argsort(-own[rest], kind="stable")][: n - len(order)]
    chosen = numpy.concatenate([order, rest])
    return Choice(strategy, candidates[chosen], clusters[chosen])
