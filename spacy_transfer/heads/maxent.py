"""The MaxEnt start: the optimal output layer for fixed states (Berger et al. 1996; Chen and Rosenfeld 1999).

It minimises the summed negative log-likelihood plus strength / 2 * ||W||^2, a Gaussian prior on the weights; biases are
free. The problem is convex, so that L-BFGS finds the one optimum.
"""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from ..types import Bools, Floats, Ints
from .losses import smooth
from .optimum import EXACT, STEP, Path, Problem, loss_of

if TYPE_CHECKING:
    from torch import Tensor

N_FOLDS = 5
GRID_SIZE = 15
"""Most strengths to try, each weaker than the one before by STEP: seven powers of ten."""
PATIENCE = 2
"""The search stops after so many strengths in a row that are worse than the best."""
FALLBACK = 0.01
"""Strength, relative to the grid's first, where labels are too rare for cross-validation."""


@dataclass(frozen=True)
class Evidence:
    """The labels of a corpus, as weights in the log-likelihood. For heads of tokens each row is a token, not a doc.

    positive (Floats): Of log p for every doc and label, shape (n_docs, n_labels).
    negative (Optional[Floats]): Of log (1 - p); None where labels exclude each other.
    holds (Bools): Which labels a doc has: where they exclude each other, the likeliest.
    n_texts (int): The last so many docs are texts of labels. No fold holds them out.
    groups (Optional[Ints]): Rows with the same number are held out together, as the tokens of a doc: shape (n_docs,).
    """

    positive: Floats
    negative: Floats | None
    holds: Bools
    n_texts: int = 0
    groups: Ints | None = None


@dataclass(frozen=True)
class Solution:
    """The optimum, and the results of the search for its strength.

    W (Floats): Shape (n_labels, width).
    b (Floats): Shape (n_labels,).
    accuracy (Optional[float]): Of held-out docs in cross-validation (labels that exclude each other: the share of
        docs whose label has the highest score; others: the share of right decisions at 0.5).
    log_likelihood (Optional[float]): Of held-out docs, the mean by weight. None, as accuracy, without
        cross-validation.
    seconds (float): Of the search and the final solution.
    """

    W: Floats
    b: Floats
    strength: float
    accuracy: float | None
    log_likelihood: float | None
    seconds: float


def weigh(truths: Floats, mask: Floats, weights: Floats | None, amount: float, exclusive: bool) -> Evidence:
    """The weights for which the negative log-likelihood is the component's own loss, `cross_entropy` or
    `binary_cross_entropy`.

    truths (Floats): Targets, shape (n_docs, n_labels).
    mask (Floats): 0 where a label is missing.
    """
    targets, given = smooth(truths, amount, exclusive), numpy.asarray(truths)
    seen: Bools = numpy.greater(mask, 0)
    if exclusive:
        likeliest = seen & (numpy.arange(given.shape[1]) == given.argmax(axis=1)[:, None])
        share = mask if weights is None else mask * (given @ numpy.asarray(weights))[:, None]
        return Evidence(share * targets, None, likeliest)
    positive = targets if weights is None else targets * weights
    return Evidence(mask * positive, mask * (1.0 - targets), seen & (given > 0.5))


def solve_maxent(states: Floats, evidence: Evidence, strength: float | None = None, seed: int = 0) -> Solution:
    """Find weights and biases of the output layer.

    states (Floats): Input of the layer, shape (n_docs, width).
    evidence (Evidence): From `weigh`, shape (n_docs, n_labels).
    strength (Optional[float]): Of the prior, above 0; None for the one with the highest held-out log-likelihood.
    """
    import torch

    start = time.perf_counter()
    problem = Problem(states, evidence.positive, evidence.negative)
    chosen = _Choice(strength) if strength is not None else _cross_validate(problem, evidence, seed)
    path = Path(problem)
    stronger = problem.strongest
    while stronger > 1.01 * chosen.strength:
        path.next(stronger)
        stronger /= STEP
    rough = path.next(chosen.strength)
    W, b = problem.unrotate(problem.solve(chosen.strength, rough, torch.float64, EXACT))
    seconds = time.perf_counter() - start
    return Solution(W, b, chosen.strength, chosen.accuracy, chosen.log_likelihood, seconds)


@dataclass(frozen=True)
class _Choice:
    strength: float
    accuracy: float | None = None
    log_likelihood: float | None = None


# Cross-validation


@dataclass
class _HeldOut:
    """Sums over held-out docs."""

    loss: float = 0.0
    weight: float = 0.0
    hits: int = 0
    decisions: int = 0


def _cross_validate(problem: Problem, evidence: Evidence, seed: int) -> _Choice:
    """From strong to weak priors, each fold from its last optimum, until the held-out log-likelihood falls.

    The log-likelihood decides, not the accuracy: it changes smoothly, and a few hundred docs are enough.
    """
    import torch

    n_docs = len(evidence.holds) - evidence.n_texts
    folds = _folds(evidence.holds[:n_docs], evidence.groups, seed)
    fold_of, has = (
        torch.as_tensor(array)
        for array in (numpy.pad(folds, (0, evidence.n_texts), constant_values=-1), evidence.holds)
    )
    n_folds = int(fold_of.max()) + 1
    parts = [(torch.nonzero(fold_of != fold)[:, 0], torch.nonzero(fold_of == fold)[:, 0]) for fold in range(n_folds)]
    paths = [Path(problem, train) for train, _ in parts]
    best, found = _Choice(problem.strongest * FALLBACK), 0
    strength = problem.strongest
    for step in range(GRID_SIZE if n_folds > 1 else 0):
        sums = _HeldOut()
        for path, (train, held) in zip(paths, parts, strict=True):
            _score(problem, has, path.next(strength), train, held, sums)
        if not sums.decisions or not sums.weight:
            break
        score = -sums.loss / sums.weight
        # A NaN must not become the best: no number would be greater.
        if math.isfinite(score) and (best.log_likelihood is None or score > best.log_likelihood):
            best, found = _Choice(strength, sums.hits / sums.decisions, score), step
        elif best.log_likelihood is not None and step - found >= PATIENCE:
            break
        strength /= STEP
    return best


def _folds(holds: Bools, groups: Ints | None, seed: int) -> Ints:
    """A fold for every row: stratified by the rarest label of the row, or of its group."""
    if groups is None:
        return stratified_folds(rarest_labels(holds), seed)
    numbers, own = numpy.unique(groups, return_inverse=True)
    together = numpy.zeros((len(numbers), holds.shape[1]), dtype=bool)
    numpy.logical_or.at(together, own, holds)
    folds: Ints = stratified_folds(rarest_labels(together), seed)[own]
    return folds


def stratified_folds(groups: Ints, seed: int, n_folds: int = N_FOLDS) -> Ints:
    """A fold for every doc, stratified: docs are assigned in turn, group by group, so that two docs of a group are in
    two folds.

    groups (Ints): A label of each doc, shape (n_docs,).
    n_folds (int): At most the number of docs.
    RETURNS (Ints): Shape (n_docs,).
    """
    shuffled = numpy.random.default_rng(seed).permutation(len(groups))
    order = shuffled[numpy.argsort(groups[shuffled], kind="stable")]
    folds = numpy.empty(len(groups), dtype=numpy.int64)
    folds[order] = numpy.arange(len(groups)) % max(min(n_folds, len(groups)), 1)
    return folds


def rarest_labels(holds: Bools) -> Ints:
    """The rarest label of every doc, which is its only one where labels exclude each other; -1 for none."""
    rarest = numpy.where(holds, holds.sum(axis=0), numpy.inf).argmin(axis=1)
    return numpy.where(holds.any(axis=1), rarest, -1)


def _score(problem: Problem, has: "Tensor", weights: "Tensor", train: "Tensor", held: "Tensor", sums: _HeldOut) -> None:
    """Add the loss and the hits of held-out docs. A label is not scored that holds in none of the other docs, or (where
    labels do not exclude each other) in all."""
    logits = problem.states[held] @ weights.T
    positive, truths, known = problem.positive[held], has[held], has[train].any(0)
    if problem.negative is None:
        scored = (truths & known).any(1, keepdim=True)
        negative = None
        hits = (logits.argmax(1) == truths.double().argmax(1)) & scored[:, 0]
    else:
        fails = (problem.negative[train] > 0) & ~has[train]
        scored = (positive + problem.negative[held] > 0) & known & fails.any(0)
        negative = problem.negative[held] * scored
        hits = ((logits > 0) == truths) & scored
    loss, _ = loss_of(logits, positive * scored, negative)
    sums.loss += float(loss)
    sums.weight += float((positive * scored).sum()) + (0.0 if negative is None else float(negative.sum()))
    sums.hits += int(hits.sum())
    sums.decisions += int(scored.sum())
