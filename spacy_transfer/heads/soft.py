"""Losses against a teacher's scores (distillation, Hinton et al. 2015), and their gradients with respect to the logits.

Teacher and student are softened by the same temperature T, their scores divided by it. Losses are multiplied by T ** 2,
so that gradients keep their size whatever T is. All are sums over the batch.
"""

from typing import Any

import numpy

from .crf import Chain, Transitions

Array = Any


def soften(xp: Any, logits: Array, temperature: float, exclusive: bool = True) -> Array:
    """Probabilities at a temperature.

    xp (ModuleType): numpy or cupy.
    logits (Array): Shape (n_rows, n_labels); -inf for what may not be.
    temperature (float): 1 is what the logits say; more of it brings out what is less likely.
    exclusive (bool): Softmax, or a sigmoid for each.
    RETURNS (Array): Same shape.
    """
    scaled = logits / temperature
    if not exclusive:
        return 1.0 / (1.0 + xp.exp(-xp.clip(scaled, -80.0, 80.0)))
    weights = xp.exp(scaled - scaled.max(axis=1, keepdims=True)) if scaled.size else scaled
    return weights / weights.sum(axis=1, keepdims=True)


def soft_cross_entropy(
    xp: Any, logits: Array, targets: Array, temperature: float, shares: Array, exclusive: bool = True
) -> tuple[float, Array]:
    """Cross-entropy of softened distributions, T ** 2 times.

    xp (ModuleType): numpy or cupy.
    logits (Array): The student's, shape (n_rows, n_labels).
    targets (Array): The teacher's probabilities, softened already; same shape.
    temperature (float): T.
    shares (Array): Weights of the rows, shape (n_rows,).
    exclusive (bool): Softmax over all labels; otherwise the sum over labels of yes and no.
    RETURNS (Tuple[float, Array]): Summed loss, and its gradient.
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


def tag_marginals(logits: Array, lengths: Array, transitions: Transitions | None, temperature: float) -> Array:
    """What a teacher says of each token.

    logits (Array): Its scores, shape (n_tokens, n_tags).
    lengths (Array): Tokens of the docs, shape (n_docs,).
    transitions (Optional[Transitions]): Its scores of neighbours; None where it takes every token for itself.
    temperature (float): T.
    RETURNS (Array): Probabilities of tags, shape (n_tokens, n_tags).
    """
    if transitions is None:
        return soften(numpy, logits, temperature)
    return Chain(logits / temperature, lengths, divide(transitions, temperature)).marginals


def soft_crf_loss(
    scores: Array,
    lengths: Array,
    transitions: Transitions,
    teacher_scores: Array,
    teacher_transitions: Transitions,
    temperature: float,
    shares: Array,
) -> tuple[float, Array, Transitions]:
    """Cross-entropy of a student's CRF against a teacher's, over all sequences of tags, T ** 2 times. It is log Z of
    the student minus the score that it gives to what the teacher expects, at tokens and between them; the gradient is
    what the student expects minus what the teacher does. A teacher with tags of its own for each token is one whose
    transitions weigh nothing. What either cannot have at all is left out.

    scores (Array), lengths (Array), transitions (Transitions): The student's, as in `Chain`.
    teacher_scores (Array), teacher_transitions (Transitions): The same of the teacher.
    temperature (float): T.
    shares (Array): Weights of the docs, shape (n_docs,).
    RETURNS (Tuple[float, Array, Transitions]): Summed loss, and its gradients.
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


def row_loss(xp: Any, rows: Array, targets: Array, shares: Array) -> tuple[float, Array]:
    """Mean squared error of rows (hints of FitNets, Romero et al. 2015): the mean over a row, the sum over rows.

    xp (ModuleType): numpy or cupy.
    rows (Array): Shape (n_rows, width).
    targets (Array): The teacher's, same shape.
    shares (Array): Weights of the rows, shape (n_rows,).
    RETURNS (Tuple[float, Array]): Summed loss, and its gradient.
    """
    difference = rows - targets
    each = xp.asarray(shares, dtype=rows.dtype)[:, None] / max(rows.shape[1], 1)
    return float((each * difference**2).sum()), 2.0 * each * difference


def divide(transitions: Transitions, temperature: float) -> Transitions:
    """RETURNS (Transitions): At a temperature."""
    return Transitions(*(numpy.asarray(part, "d") / temperature for part in vars(transitions).values()))


def _product(expected: Array, scores: Array) -> float:
    """The sum of what is expected times its score. What may not be is not expected, and counts nothing."""
    used = expected > 0
    return float((expected[used] * scores[used]).sum())
