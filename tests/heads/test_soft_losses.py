"""Losses against a teacher: equal to enumeration and to torch, gradients equal to differences."""

import itertools

import numpy
import pytest
import torch

from spacy_transfer.heads.soft_losses import row_loss, soft_crf_loss, soft_cross_entropy, soften, tag_marginals
from spacy_transfer.heads.tagging.crf import Chain, Transitions, crf_loss

RNG = numpy.random.default_rng(0)
LENGTHS = numpy.array([3, 0, 1, 4])
N_TAGS = 3


def scores():
    return RNG.normal(size=(int(LENGTHS.sum()), N_TAGS))


def transitions(forbid=True):
    matrix = RNG.normal(size=(N_TAGS, N_TAGS))
    start = RNG.normal(size=N_TAGS)
    if forbid:
        matrix[0, 2] = start[2] = -numpy.inf
    return Transitions(start, matrix, RNG.normal(size=N_TAGS))


def sequences(given, length, neighbours):
    """Every sequence of tags, and its score."""
    for tags in itertools.product(range(N_TAGS), repeat=length):
        total = sum(given[i, tag] for i, tag in enumerate(tags))
        if length:
            total += neighbours.start[tags[0]] + neighbours.end[tags[-1]]
        total += sum(neighbours.matrix[a, b] for a, b in itertools.pairwise(tags))
        yield tags, total


def enumerated_loss(student, own, teacher, theirs, temperature, shares):
    loss, begin = 0.0, 0
    for length, share in zip(LENGTHS, shares, strict=True):
        part = slice(begin, begin + length)
        begin += length
        mine = numpy.array([s for _, s in sequences(student[part], length, own)]) / temperature
        other = numpy.array([s for _, s in sequences(teacher[part], length, theirs)]) / temperature
        log_p = mine - numpy.logaddexp.reduce(mine)
        q = numpy.exp(other - numpy.logaddexp.reduce(other))
        loss -= share * temperature**2 * (q[q > 0] * log_p[q > 0]).sum()
    return loss


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_crf_against_crf_is_that_of_all_sequences(temperature):
    student, teacher, own, theirs = scores(), scores(), transitions(), transitions()
    shares = numpy.array([1.0, 1.0, 0.5, 2.0])
    loss, d_scores, d = soft_crf_loss(student, LENGTHS, own, teacher, theirs, temperature, shares)
    assert loss == pytest.approx(enumerated_loss(student, own, teacher, theirs, temperature, shares), abs=1e-9)

    def loss_now():
        return enumerated_loss(student, own, teacher, theirs, temperature, shares)

    for values, gradient in ((student, d_scores), *((getattr(own, p), getattr(d, p)) for p in vars(own))):
        for place in numpy.ndindex(values.shape):
            if not numpy.isfinite(values[place]):
                assert gradient[place] == 0
                continue
            before, losses = values[place], []
            for step in (1e-5, -1e-5):
                values[place] = before + step
                losses.append(loss_now())
            values[place] = before
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-5, abs=1e-6)


def test_a_sure_teacher_is_gold():
    """With all its mass on one sequence, a teacher's loss is that of the sequence as gold."""
    student, own = scores(), transitions(forbid=False)
    tags = RNG.integers(0, N_TAGS, len(student))
    hard = numpy.eye(N_TAGS, dtype=bool)[tags]
    teacher = numpy.where(hard, 0.0, -numpy.inf)
    none = Transitions(*(numpy.zeros_like(part) for part in vars(own).values()))
    soft = soft_crf_loss(student, LENGTHS, own, teacher, none, 1.0, numpy.ones(4))
    gold = crf_loss(student, LENGTHS, own, hard)
    assert soft[0] == pytest.approx(gold[0])
    numpy.testing.assert_allclose(soft[1], gold[1], atol=1e-9)
    numpy.testing.assert_allclose(soft[2].matrix, gold[2].matrix, atol=1e-9)


def test_what_cannot_be_is_left_out():
    student, teacher, own = scores(), scores(), transitions()
    teacher[:3] = -numpy.inf
    rest = soft_crf_loss(student[3:], LENGTHS[1:], own, teacher[3:], own, 2.0, numpy.ones(3))
    loss, gradient, _ = soft_crf_loss(student, LENGTHS, own, teacher, own, 2.0, numpy.ones(4))
    assert loss == pytest.approx(rest[0]) and not gradient[:3].any()
    numpy.testing.assert_allclose(gradient[3:], rest[1])


@pytest.mark.parametrize("exclusive", [True, False])
def test_labels_against_torch(exclusive):
    student, teacher, temperature = RNG.normal(size=(5, 4)) * 4, RNG.normal(size=(5, 4)) * 4, 3.0
    shares = numpy.array([1.0, 0.0, 0.5, 2.0, 1.0])
    given = torch.tensor(student, requires_grad=True)
    targets = soften(numpy, teacher, temperature, exclusive)
    scaled, wanted, share = given / temperature, torch.tensor(teacher) / temperature, torch.tensor(shares)
    if exclusive:
        expected = torch.nn.functional.cross_entropy(scaled, wanted.softmax(1), reduction="none")
    else:
        per_label = torch.nn.functional.binary_cross_entropy_with_logits(scaled, wanted.sigmoid(), reduction="none")
        expected = per_label.sum(1)
    expected = temperature**2 * (expected * share).sum()
    expected.backward()
    loss, gradient = soft_cross_entropy(numpy, student, targets, temperature, shares, exclusive)
    assert loss == pytest.approx(expected.item())
    numpy.testing.assert_allclose(gradient, given.grad.numpy(), atol=1e-9)


def test_huge_logits_stay_finite():
    student, targets = numpy.array([[900.0, -900.0]]), numpy.array([[0.0, 1.0]])
    for exclusive in (True, False):
        loss, gradient = soft_cross_entropy(numpy, student, targets, 2.0, numpy.ones(1), exclusive)
        assert numpy.isfinite(loss) and numpy.isfinite(gradient).all()
        assert numpy.isfinite(soften(numpy, student, 2.0, exclusive)).all()


def test_marginals_of_a_teacher():
    teacher, theirs = scores(), transitions()
    found = tag_marginals(teacher, LENGTHS, theirs, 2.0)
    half = Transitions(*(part / 2.0 for part in vars(theirs).values()))
    numpy.testing.assert_allclose(found, Chain(teacher / 2.0, LENGTHS, half).marginals)
    alone = tag_marginals(teacher, LENGTHS, None, 2.0)
    numpy.testing.assert_allclose(alone, torch.tensor(teacher / 2.0).softmax(1).numpy())


def test_rows_against_torch():
    rows, targets, shares = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3)), numpy.array([1.0, 0.5, 0.0, 2.0])
    given = torch.tensor(rows, requires_grad=True)
    expected = (((given - torch.tensor(targets)) ** 2).mean(1) * torch.tensor(shares)).sum()
    expected.backward()
    loss, gradient = row_loss(numpy, rows, targets, shares)
    assert loss == pytest.approx(expected.item())
    numpy.testing.assert_allclose(gradient, given.grad.numpy())


def test_nothing_teaches_nothing():
    empty = numpy.zeros((0, N_TAGS))
    assert soft_cross_entropy(numpy, empty, empty, 2.0, numpy.zeros(0))[0] == 0
    loss, gradient, _ = soft_crf_loss(
        empty, numpy.zeros(2, "i8"), transitions(), empty, transitions(), 2.0, numpy.ones(2)
    )
    assert loss == 0 and gradient.shape == (0, N_TAGS)
    assert row_loss(numpy, empty, empty, numpy.zeros(0))[0] == 0
