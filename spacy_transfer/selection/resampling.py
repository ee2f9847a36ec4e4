"""The uncertainty of a ranking: scores of resampled documents, the same ones for all candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from ..types import Bools, Floats, Ints
from .estimators.estimate import Estimate, Estimator, Targets

RESAMPLES = 1000
FOLDS = 10
"""Parts of the docs that are left out in turn, where an estimate is no mean over rows (delete-a-group jackknife)."""
LEVEL = 0.95


@dataclass(frozen=True)
class Scored:
    """The score of what one head would read.

    parts (Optional[Array]): One number a row; see `Estimate`.
    without (Optional[Array]): Scores without each fold of docs, where there are no parts.
    """

    score: float
    parts: Floats | None
    without: Floats | None = None


def score(estimator: Estimator, rows: Floats, targets: Targets, docs: Ints, seed: int) -> Scored:
    """Estimate, and again without each tenth of the docs where that is the only way to see how certain it is.

    docs (Array): Index of the doc of each row.
    """
    found: Estimate = estimator(rows, targets)
    if found.parts is not None:
        return Scored(float(found.score), found.parts)
    fold_of = numpy.random.default_rng(seed).permutation(int(docs.max()) + 1) % FOLDS
    without = []
    for fold in range(FOLDS):
        kept = fold_of[docs] != fold
        groups = None if targets.groups is None else targets.groups[kept]
        without.append(estimator(rows[kept], Targets(targets.kind, targets.values[kept], groups)).score)
    return Scored(float(found.score), None, numpy.array(without))


def draws(scored: Sequence[Scored], docs: Ints, n_docs: int, seed: int) -> Floats:
    """Scores of resampled docs: a bootstrap (Efron 1979) where scores are means over rows, or else draws from a normal
    distribution with the covariance of the jackknife.

    scored (Sequence[Scored]): Of one head, by candidate.
    docs (Array): Index of the doc of each row.
    RETURNS (Array): Shape (RESAMPLES, n_candidates). The same seed gives the same docs, for every head.
    """
    random = numpy.random.default_rng(seed)
    values = numpy.array([one.score for one in scored])
    parts = [one.parts for one in scored if one.parts is not None]
    if len(parts) < len(scored):
        without = numpy.stack([one.without for one in scored if one.without is not None], axis=1)
        spread = (without - without.mean(axis=0)) * ((FOLDS - 1) / FOLDS) ** 0.5
        return values + random.standard_normal((RESAMPLES, FOLDS)) @ spread
    sums = numpy.stack([numpy.bincount(docs, part, n_docs) for part in parts], axis=1)
    sizes = numpy.bincount(docs, minlength=n_docs).astype("d")
    counts = random.multinomial(n_docs, numpy.full(n_docs, 1.0 / n_docs), size=RESAMPLES).astype("d")
    return (counts @ sums) / numpy.maximum(counts @ sizes, 1e-9)[:, None]


def combine(scores: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """One number for each candidate, higher is better: the score of a single head; of several heads, whose scores have
    no common unit, the weighted mean of ranks, times -1.

    scores (Sequence[Array]): For each head, shape (..., n_candidates).
    """
    if len(scores) == 1:
        return scores[0]
    ranks = [-_ranks(-head) * weight for head, weight in zip(scores, weights, strict=True)]
    total: Floats = numpy.sum(ranks, axis=0) / sum(weights)
    return total


def _ranks(values: Floats) -> Floats:
    """Ranks from 1 for the lowest along the last axis; those that are equal share the mean."""
    below = (values[..., None, :] < values[..., :, None]).sum(axis=-1)
    same = (values[..., None, :] == values[..., :, None]).sum(axis=-1)
    ranks: Floats = below + (same + 1) / 2
    return ranks


def equal_to_best(combined: Floats, best: int) -> Bools:
    """RETURNS (Array): Which candidates cannot be told apart from the best: the interval of the difference holds 0.

    combined (Array): Of resamples, shape (n_resamples, n_candidates).
    """
    behind = combined[:, best : best + 1] - combined
    return numpy.quantile(behind, (1 - LEVEL) / 2, axis=0) <= 0.0


def within_one_error(values: Floats, combined: Floats, best: int) -> Bools:
    """RETURNS (Array): Which candidates are within one standard error of the best (Breiman et al. 1984): so little that
    the cheapest of them is as good a choice.

    values (Array): Combined scores, shape (n_candidates,).
    combined (Array): The same of resamples.
    """
    error = (combined[:, best : best + 1] - combined).std(axis=0)
    close: Bools = values[best] - values <= error
    return close


def half_width(values: Floats) -> Floats:
    """RETURNS (Array): Half of the interval that holds resampled scores, shape (n_candidates,)."""
    low, high = numpy.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    half: Floats = (high - low) / 2
    return half
