"""Targets and Estimate: what estimators take and give, and the checks that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy

from ...errors import Errors
from ...types import Floats, Ints

Kind = Literal["classes", "multilabel", "numbers"]


@dataclass(frozen=True)
class Targets:
    """What a head would learn from the rows.

    kind (str): "classes" (one class a row), "multilabel" (any number of labels) or "numbers".
    values (Union[Ints, Floats]): Indices of classes, shape (n,); 0 or 1 for every label, shape (n, n_labels); numbers,
        shape (n,) or (n, n_targets).
    groups (Optional[Ints]): The document of each row, shape (n,), where rows are tokens; None where they are documents.
    """

    kind: Kind
    values: Ints | Floats
    groups: Ints | None = None


@dataclass(frozen=True)
class Estimate:
    """The result of an estimator.

    score (float): Higher is better.
    parts (Optional[Floats]): A number for each row, whose mean is the score. The mean over resampled rows (or docs)
        tells how uncertain the score is: to first order, where the score is no mean itself (macro F1). None where
        there is no such thing.
    """

    score: float
    parts: Floats | None = None


Estimator: TypeAlias = Callable[[Floats, Targets], Estimate]
"""Rows of shape (n, width), float32, and their targets."""


@dataclass(frozen=True)
class Checked:
    """Rows and targets that can be computed with.

    rows (Floats): Float64, shape (n, width).
    truths (Floats): Float64, shape (n, n_columns): 0 or 1 for each class or label, or numbers. Columns that never vary
        are left out.
    groups (Ints): Of each row, from 0; a group of its own where none were given.
    """

    kind: Kind
    rows: Floats
    truths: Floats
    groups: Ints


def check(rows: Floats, targets: Targets) -> Checked:
    """Refuse what says nothing about the rows.

    RAISES (ValueError): When shapes differ, when there are fewer than two rows or documents, when a value is missing or
        infinite, when targets are not of their kind, or when no target varies.
    """
    rows, values = numpy.asarray(rows, dtype=numpy.float64), targets.values
    n_groups = len(values) if targets.groups is None else len(numpy.unique(targets.groups))
    shapes = [values.shape[:1], values.shape[:1] if targets.groups is None else numpy.shape(targets.groups)]
    if rows.ndim != 2 or shapes != [rows.shape[:1]] * 2 or not rows.shape[1] or n_groups < 2:
        raise ValueError(Errors.T880.format(rows=rows.shape, targets=values.shape, groups=n_groups))
    is_finite = numpy.isfinite(rows).all(axis=1)
    if not is_finite.all():
        raise ValueError(Errors.T881.format(count=int((~is_finite).sum()), n=len(rows), first=int(is_finite.argmin())))
    truths = _as_columns(targets.kind, values)
    varies = (truths != truths[:1]).any(axis=0)
    if not varies.any():
        raise ValueError(Errors.T882.format(kind=targets.kind, n=len(rows)))
    groups = numpy.arange(len(rows)) if targets.groups is None else numpy.unique(targets.groups, return_inverse=True)[1]
    return Checked(targets.kind, rows, truths[:, varies], groups)


def _as_columns(kind: Kind, values: Ints | Floats) -> Floats:
    """Targets of any kind as float64 of shape (n, n_columns)."""
    good = {
        "classes": lambda: values.ndim == 1 and numpy.issubdtype(values.dtype, numpy.integer),
        "multilabel": lambda: values.ndim == 2 and bool(numpy.isin(values, (0, 1)).all()),
        "numbers": lambda: values.ndim in (1, 2) and bool(numpy.isfinite(values).all()),
    }
    if kind not in good or not good[kind]():
        raise ValueError(Errors.T884.format(kind=kind, dtype=values.dtype, shape=values.shape))
    if kind == "classes":
        return (values[:, None] == numpy.unique(values)).astype(numpy.float64)
    return values.astype(numpy.float64).reshape(len(values), -1)
