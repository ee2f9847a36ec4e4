"""Losses against a teacher's scores (distillation, Hinton et al. 2015), and their gradients with respect to the logits.

Teacher and student are softened by the same temperature T, their scores divided by it. Losses are multiplied by T ** 2,
so that gradients keep their size whatever T is. All are sums over the batch.
"""

from typing import cast

import numpy

from ..types import ArrayModule, Floats, Ints
from .tagging.crf import Chain, Transitions


def soften(xp: ArrayModule, logits: Floats, temperature: float, exclusive: bool = True) -> Floats:
    """Probabilities at a temperature.

    logits (Floats): Shape (n_rows, n_labels); -inf for what is not allowed.
    temperature (float): 1 leaves the logits as they are; a higher one raises unlikely labels.
    """
    scaled = logits / temperature
    if not exclusive:
        return cast(Floats, 1.0 / (1.0 + xp.exp(-xp.clip(scaled, -80.0, 80.0))))
    soft = xp.exp(scaled - scaled.max(axis=1, keepdims=True)) if scaled.size else scaled
    return cast(Floats, soft / soft.sum(axis=1, keepdims=True))


def soft_cross_entropy(
    xp: ArrayModule, logits: Floats, targets: Floats, temperature: float, shares: Floats, exclusive: bool = True
) -> tuple[float, Floats]:
    """Cross-entropy of softened distributions, T ** 2 times.

    logits (Floats): The student's, shape (n_rows, n_labels).
    targets (Floats): The teacher's probabilities, softened already; same shape.
    shares (Floats): Weights of the rows, shape (n_rows,).
    exclusive (bool): Softmax over all labels; otherwise the sum over labels of yes and no.
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient.
    """
    scaled, share = logits / temperature, shares[:, None]
    if exclusive:
        shifted = scaled - scaled.max(axis=1, keepdims=True) if scaled.size else scaled
        logs = shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))
        loss = -(share * targets * logs).sum()
        return float(loss) * temperature**2, temperature * share * (xp.exp(logs) - targets)
    # log(1 + exp(x)) without overflow.
    plus = xp.maximum(scaled, 0.0) + xp.log1p(xp.exp(-xp.abs(scaled)))
    loss = (share * (plus - targets * scaled)).sum()
    return float(loss) * temperature**2, temperature * share * (soften(xp, logits, temperature, False) - targets)


def tag_marginals(logits: Floats, lengths: Ints, transitions: Transitions | None, temperature: float) -> Floats:
    """The probabilities that a teacher gives to the tags of each token.

    logits (Floats): Its scores, shape (n_tokens, n_tags).
    lengths (Ints): Tokens of the docs, shape (n_docs,).
    transitions (Optional[Transitions]): Its scores of neighbours; None where tokens are independent.
    RETURNS (Floats): Probabilities of tags, shape (n_tokens, n_tags).
    """
    if transitions is None:
        return soften(numpy, logits, temperature)
    return Chain(logits / temperature, lengths, divide(transitions, temperature)).marginals


def soft_crf_loss(
    scores: Floats,
    lengths: Ints,
    transitions: Transitions,
    teacher_scores: Floats,
    teacher_transitions: Transitions,
    temperature: float,
    shares: Floats,
) -> tuple[float, Floats, Transitions]:
    """Cross-entropy of a student's CRF against a teacher's, over all sequences of tags, T ** 2 times. It is log Z of
    the student minus its score of the teacher's expected counts, at tokens and between them; the gradient is the
    student's expected counts minus the teacher's. Transitions of a teacher with independent tokens are 0. Docs in which
    one side allows no tags are left out.

    scores (Floats), lengths (Ints), transitions (Transitions): The student's, as in `Chain`.
    shares (Floats): Weights of the docs, shape (n_docs,).
    RETURNS (Tuple[float, Floats, Transitions]): Summed loss, and its gradients.
    """
    softened = divide(transitions, temperature)
    student = Chain(scores / temperature, lengths, softened)
    teacher = Chain(teacher_scores / temperature, lengths, divide(teacher_transitions, temperature))
    can_be = ~(numpy.isneginf(student.log_z) | numpy.isneginf(teacher.log_z))
    counted = numpy.where(can_be, shares, 0.0)
    wanted, between = teacher.expected(counted)
    expected, d_between = student.expected(counted)
    agreed = _product(wanted, scores / temperature)
    for part in vars(between):
        agreed += _product(getattr(between, part), getattr(softened, part))
    loss = float((counted * numpy.where(can_be, student.log_z, 0.0)).sum() - agreed)
    gradient = {part: temperature * (getattr(d_between, part) - getattr(between, part)) for part in vars(between)}
    return loss * temperature**2, temperature * (expected - wanted), Transitions(**gradient)


def row_loss(xp: ArrayModule, rows: Floats, targets: Floats, shares: Floats) -> tuple[float, Floats]:
    """Mean squared error of rows (hints of FitNets, Romero et al. 2015): the mean over a row, the sum over rows.

    rows (Floats): Shape (n_rows, width).
    targets (Floats): The teacher's, same shape.
    shares (Floats): Weights of the rows, shape (n_rows,).
    RETURNS (Tuple[float, Floats]): Summed loss, and its gradient.
    """
    difference = rows - targets
    each = xp.asarray(shares, dtype=rows.dtype)[:, None] / max(rows.shape[1], 1)
    return float((each * difference**2).sum()), 2.0 * each * difference


def divide(transitions: Transitions, temperature: float) -> Transitions:
    """RETURNS (Transitions): At a temperature."""
    return Transitions(*(numpy.asarray(part, "d") / temperature for part in vars(transitions).values()))


def _product(expected: Floats, scores: Floats) -> float:
    """The sum of expected counts times scores. A count of 0 adds nothing, though its score is -inf."""
    used = expected > 0
    return float((expected[used] * scores[used]).sum())
