"""Losses over label scores, and their gradients with respect to the logits.

All are sums over the batch, so that the gradients of parts of a batch add up to the batch's.
"""

from typing import NamedTuple

from ..types import ArrayModule, Floats

_TINY = 1e-30


def smooth(truths: Floats, amount: float, exclusive: bool) -> Floats:
    """Label smoothing (Szegedy et al. 2016): a share of every target is spread evenly.

    truths (Floats): Targets, shape (n_docs, n_labels).
    exclusive (bool): Spread over all labels; over yes and no of each label otherwise.
    """
    n_options = truths.shape[1] if exclusive else 2
    return truths * (1.0 - amount) + amount / n_options


def cross_entropy(
    xp: ArrayModule,
    scores: Floats,
    truths: Floats,
    mask: Floats,
    weights: Floats | None,
    amount: float,
    focal: float = 0.0,
) -> tuple[float, Floats]:
    """Cross-entropy of softmax scores. A doc weighs as much as its labels do.

    scores (Floats): Probabilities, shape (n_docs, n_labels).
    truths (Floats): Targets, rows summing to 1.
    mask (Floats): 0 in rows of docs without a label.
    focal (float): Gamma of the focal loss (Lin et al. 2017): the part of the loss that belongs to a target counts
        (1 - its probability) ** gamma times as much, so that easy examples count little. 0 is plain cross-entropy.
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient with respect to the logits.
    """
    targets = smooth(truths, amount, exclusive=True)
    share = mask if weights is None else mask * (truths @ weights)[:, None]
    if not focal:
        loss = -(share * targets * xp.log(scores + _TINY)).sum()
        return float(loss), share * (scores - targets)
    rest = 1.0 - scores
    logs, power = xp.log(scores + _TINY), rest**focal
    loss = -(share * targets * power * logs).sum()
    # log(p) / (1 - p) goes to -1 as p goes to 1, where it is 0 / 0.
    ratio = xp.where(rest > 0.0, logs / xp.where(rest > 0.0, rest, 1.0), -1.0)
    inner = targets * power * (focal * scores * ratio - 1.0)
    return float(loss), share * (inner - scores * inner.sum(axis=1, keepdims=True))


class Focus(NamedTuple):
    """Of a focal loss over labels that do not exclude each other, with the two sides apart (Ridnik et al. 2021).

    positive (float), negative (float): Gamma where a label holds, and where it does not; see `cross_entropy`.
    margin (float): Taken from the scores of labels that do not hold. What is then below 0 does not count.
    """

    positive: float = 0.0
    negative: float = 0.0
    margin: float = 0.0


def binary_cross_entropy(
    xp: ArrayModule,
    scores: Floats,
    truths: Floats,
    mask: Floats,
    weights: Floats | None,
    amount: float,
    focus: Focus = Focus(),  # noqa: B008 (it cannot be changed)
) -> tuple[float, Floats]:
    """Binary cross-entropy of sigmoid scores. Weights count for the positive side of a label.

    scores (Floats): Probabilities, shape (n_docs, n_labels).
    truths (Floats): Targets between 0 and 1.
    mask (Floats): 0 where a label is missing.
    weights (Optional[Floats]): Weight of every label where it holds.
    focus (Focus): Of the focal loss.
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient with respect to the logits.
    """
    targets = smooth(truths, amount, exclusive=False)
    positive = targets if weights is None else targets * weights
    negative = 1.0 - targets
    rest = 1.0 - scores
    yes = xp.log(scores + _TINY)
    if not any(focus):
        loss = -(mask * (positive * yes + negative * xp.log(rest + _TINY))).sum()
        return float(loss), mask * (scores * (positive + negative) - positive)
    above = xp.maximum(scores - focus.margin, 0.0)
    no = xp.log(1.0 - above + _TINY)
    positive, negative = positive * rest**focus.positive, negative * above**focus.negative
    loss = -(mask * (positive * yes + negative * no)).sum()
    rising = positive * (focus.positive * scores * yes - rest)
    is_above = above > 0.0
    # Times d score / d logit, which is score * rest. What is left of rest / (1 - above) has no 0 / 0 without a margin.
    share = rest / (rest + focus.margin) if focus.margin else 1.0
    falling = negative * scores * is_above
    falling *= focus.negative * rest * no / xp.where(is_above, above, 1.0) - share
    return float(loss), mask * (rising - falling)


def balanced_weights(xp: ArrayModule, truths: Floats, mask: Floats, exclusive: bool) -> Floats:
    """Weights that make up for rare labels (King and Zeng 2001).

    truths (Floats): Targets of the training corpus, shape (n_docs, n_labels).
    mask (Floats): 0 where a label is missing.
    exclusive (bool): n / (n_labels * count) for each label; negatives / positives of each label otherwise.
    RETURNS (Floats): Shape (n_labels,). A label that never occurs weighs 1.
    """
    counts: Floats = (truths * mask).sum(axis=0)
    if exclusive:
        wanted = counts.sum() / (truths.shape[1] * xp.maximum(counts, _TINY))
    else:
        wanted = (mask.sum(axis=0) - counts) / xp.maximum(counts, _TINY)
        wanted = xp.where(wanted > 0, wanted, 1.0)
    found: Floats = xp.where(counts > 0, wanted, 1.0).astype("f")
    return found
