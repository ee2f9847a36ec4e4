"""Accuracy, macro F1 and R^2 of predictions, each with a number for every row."""

from typing import Literal

import numpy

from ...heads.thresholds import best_threshold
from ...types import Floats
from .estimate import Checked, Estimate

Measure = Literal["auto", "accuracy", "macro_f1"]


def compare(checked: Checked, predicted: Floats, wanted: Measure) -> Estimate:
    """Compare predictions with truths: numbers by R^2, several labels by macro F1, classes by accuracy or macro F1.

    Labels hold from one threshold for all on: the one with the best F1 of all decisions. The scores of rare labels
    seldom reach 0.5, however good the rows are.

    predicted (Floats): Shape of the truths. Numbers; or scores, of which the highest is the class.
    wanted (str): For classes. "auto" is accuracy, but macro F1 where one class has more than half of the rows, as in
        the tags of entities: saying that class always would be right most of the time, and says nothing about the rows.
    RETURNS (Estimate): The means over targets, labels or classes.
    """
    truths = checked.truths
    if checked.kind == "numbers":
        errors = (predicted - truths) ** 2
        return _estimate(1.0 - _ratios(errors, (truths - truths.mean(axis=0)) ** 2))
    if checked.kind == "classes":
        best = predicted.argmax(axis=1)
        if wanted == "accuracy" or (wanted == "auto" and truths.mean(axis=0).max() <= 0.5):
            return _estimate(truths[numpy.arange(len(truths)), best][:, None])
        said = best[:, None] == numpy.arange(truths.shape[1])
    else:
        threshold, _ = best_threshold(predicted.ravel(), truths.ravel()) or (0.5, 0.0)
        said = predicted >= threshold
    return _estimate(_ratios(2.0 * said * truths, said + truths))


def _estimate(parts: Floats) -> Estimate:
    of_rows = parts.mean(axis=1)
    return Estimate(float(of_rows.mean()), of_rows)


def _ratios(above: Floats, below: Floats) -> Floats:
    """Ratios of the sums of columns, as a sum over rows: the ratio, and what a row changes of it to first order (its
    influence; Hampel 1974). Influences add up to 0, and their variance is that of the ratio (the delta method).

    above (Floats), below (Floats): Shape (n, n_columns). No column of `below` is 0 everywhere.
    """
    size = below.mean(axis=0)
    ratios = above.mean(axis=0) / size
    parts: Floats = ratios + (above - ratios * below) / size
    return parts
