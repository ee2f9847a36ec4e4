"""Losses over label scores, and their gradients with respect to the logits.

All are sums over the batch, so that the gradients of parts of a batch add up to the batch's.
"""

from typing import Any

from thinc.types import Floats1d, Floats2d

_TINY = 1e-30


def smooth(truths: Floats2d, amount: float, exclusive: bool) -> Floats2d:
    """Label smoothing (Szegedy et al. 2016): a share of every target is spread evenly.

    truths (Floats2d): Targets, shape (n_docs, n_labels).
    amount (float): The share, 0 <= amount < 1.
    exclusive (bool): Spread over all labels; over yes and no of each label otherwise.
    RETURNS (Floats2d): Targets of the same shape.
    """
    n_options = truths.shape[1] if exclusive else 2
    return truths * (1.0 - amount) + amount / n_options


def cross_entropy(
    xp: Any, scores: Floats2d, truths: Floats2d, mask: Floats2d, weights: Floats1d | None, amount: float
) -> tuple[float, Floats2d]:
    """Cross-entropy of softmax scores. A doc weighs as much as its labels do.

    scores (Floats2d): Probabilities, shape (n_docs, n_labels).
    truths (Floats2d): Targets, rows summing to 1.
    mask (Floats2d): 0 in rows of docs without a label.
    weights (Optional[Floats1d]): Weight of every label.
    amount (float): Label smoothing.
    RETURNS (Tuple[float, Floats2d]): Summed loss, and its gradient with respect to the logits.
    """
    targets = smooth(truths, amount, exclusive=True)
    share: Any = mask if weights is None else mask * _column(truths @ weights)
    loss = -(share * targets * xp.log(scores + _TINY)).sum()
    return float(loss), share * (scores - targets)


def binary_cross_entropy(
    xp: Any, scores: Floats2d, truths: Floats2d, mask: Floats2d, weights: Floats1d | None, amount: float
) -> tuple[float, Floats2d]:
    """Binary cross-entropy of sigmoid scores. Weights count for the positive side of a label.

    scores (Floats2d): Probabilities, shape (n_docs, n_labels).
    truths (Floats2d): Targets between 0 and 1.
    mask (Floats2d): 0 where a label is missing.
    weights (Optional[Floats1d]): Weight of every label where it holds.
    amount (float): Label smoothing.
    RETURNS (Tuple[float, Floats2d]): Summed loss, and its gradient with respect to the logits.
    """
    targets: Any = smooth(truths, amount, exclusive=False)
    positive = targets if weights is None else targets * weights
    negative = 1.0 - targets
    loss = -(mask * (positive * xp.log(scores + _TINY) + negative * xp.log(1.0 - scores + _TINY))).sum()
    return float(loss), mask * (scores * (positive + negative) - positive)


def _column(values: Any) -> Any:
    return values[:, None]


def balanced_weights(xp: Any, truths: Floats2d, mask: Floats2d, exclusive: bool) -> Floats1d:
    """Weights that make up for rare labels (King and Zeng 2001).

    truths (Floats2d): Targets of the training corpus, shape (n_docs, n_labels).
    mask (Floats2d): 0 where a label is missing.
    exclusive (bool): n / (n_labels * count) for each label; negatives / positives of each label otherwise.
    RETURNS (Floats1d): Shape (n_labels,). A label that never occurs weighs 1.
    """
    counts: Any = (truths * mask).sum(axis=0)
    if exclusive:
        wanted = counts.sum() / (truths.shape[1] * xp.maximum(counts, _TINY))
    else:
        wanted = (mask.sum(axis=0) - counts) / xp.maximum(counts, _TINY)
        wanted = xp.where(wanted > 0, wanted, 1.0)
    return xp.where(counts > 0, wanted, 1.0).astype("f")
