"""LinearProbe.v1: how well a linear head on the rows does on documents that it did not learn from."""

import math
from typing import TYPE_CHECKING

import numpy

from ...checks import Range, require
from ...heads.maxent import rarest_labels, stratified_folds
from ...heads.optimum import STEP, Path, Problem, loss_of
from ...types import Floats, Ints
from .estimate import Checked, Estimate, Estimator, Targets, check
from .measures import Measure, compare

if TYPE_CHECKING:
    from torch import Tensor

_GRID_SIZE = 15
"""Most strengths of the prior to try, each weaker than the one before by STEP: seven powers of ten."""
_PATIENCE = 2
"""The search stops after so many strengths in a row that are worse than the best."""
_BINS = 10
"""The parts of the range of a number that are shared among the folds."""


def build_linear_probe_v1(*, folds: int = 5, measure: Measure = "auto", seed: int = 0) -> Estimator:
    """Cross-validate a linear head (Alain and Bengio 2017): logistic regression for classes and labels, by the L-BFGS
    solver of the MaxEnt start; ridge regression for numbers. The strength of its prior is the one with the lowest
    loss on held-out rows. Classes are spread over the folds, and documents are not cut. The only document with a class
    counts as an error.

    folds (int): Two at least; at most as many as there are documents.
    measure (str): For classes: "accuracy", "macro_f1" or "auto" (macro F1 where one class has more than half of the
        rows). Several labels are measured by macro F1, numbers by R^2.
    seed (int): Of the folds.
    RETURNS (Callable[[Floats, Targets], Estimate]): The estimator. Its score has parts.
    """
    require("estimator", Range(2, whole=True), folds=folds)

    def estimate(rows: Floats, targets: Targets) -> Estimate:
        checked = check(rows, targets)
        fold_of = _folds(checked, folds, seed)
        predict = _predict_numbers if checked.kind == "numbers" else _predict_labels
        return compare(checked, predict(checked, fold_of), measure)

    return estimate


def _folds(checked: Checked, n_folds: int, seed: int) -> Ints:
    """The fold of each row; all rows of a document are in one. Documents are spread by their rarest class or label, or
    by the mean of their first number."""
    sums = numpy.zeros((checked.groups.max() + 1, checked.truths.shape[1]))
    numpy.add.at(sums, checked.groups, checked.truths)
    if checked.kind == "numbers":
        means = sums[:, 0] / numpy.bincount(checked.groups)
        kinds: Ints = means.argsort(kind="stable").argsort(kind="stable") * _BINS // len(means)
    else:
        kinds = rarest_labels(sums > 0)
    return stratified_folds(kinds, seed, n_folds)[checked.groups]


def _predict_labels(checked: Checked, fold_of: Ints) -> Floats:
    """Probabilities of held-out rows. From strong to weak priors, each fold from its last optimum, until the held-out
    likelihood falls. The likelihood decides, not the accuracy: it changes smoothly."""
    import torch

    truths = checked.truths
    problem = Problem(checked.rows, truths, None if checked.kind == "classes" else 1.0 - truths)
    parts = [tuple(torch.as_tensor(numpy.flatnonzero(x)) for x in (fold_of != f, fold_of == f)) for f in set(fold_of)]
    paths = [Path(problem, train) for train, _ in parts]
    best, lowest, found, strength = problem.states.new_zeros(truths.shape), math.inf, 0, problem.strongest
    for step in range(_GRID_SIZE):
        logits: Tensor = torch.zeros_like(best)
        for path, (_, held) in zip(paths, parts, strict=True):
            logits[held] = problem.states[held] @ path.next(strength).T
        loss = float(loss_of(logits, problem.positive, problem.negative)[0])
        if loss < lowest:
            best, lowest, found = logits, loss, step
        elif step - found >= _PATIENCE:
            break
        strength /= STEP
    probabilities: Floats = (best.softmax(1) if checked.kind == "classes" else best.sigmoid()).numpy()
    return probabilities


def _predict_numbers(checked: Checked, fold_of: Ints) -> Floats:
    """Predictions for held-out rows by ridge regression, with the strength of the lowest squared error."""
    mean, scale = checked.truths.mean(axis=0), checked.truths.std(axis=0)
    truths = (checked.truths - mean) / scale
    rows = checked.rows - checked.rows.mean(axis=0)
    if len(rows) < rows.shape[1]:  # The same problem in fewer columns.
        left, sizes, _ = numpy.linalg.svd(rows, full_matrices=False)
        rows = left * sizes
    strengths = max(float((rows**2).sum()), 1e-12) / STEP ** numpy.arange(_GRID_SIZE)
    predicted = numpy.empty((_GRID_SIZE, *truths.shape))
    for fold in set(fold_of):
        train, held = fold_of != fold, fold_of == fold
        center, level = rows[train].mean(axis=0), truths[train].mean(axis=0)
        states = rows[train] - center
        values, axes = numpy.linalg.eigh(states.T @ states)
        along = axes.T @ (states.T @ (truths[train] - level))
        ahead = (rows[held] - center) @ axes
        for found, strength in zip(predicted, strengths, strict=True):
            found[held] = ahead @ (along / (values[:, None].clip(0.0) + strength)) + level
    best = ((predicted - truths) ** 2).sum(axis=(1, 2)).argmin()
    return predicted[best] * scale + mean
