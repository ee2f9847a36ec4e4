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
