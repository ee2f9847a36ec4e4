"""Focal loss against torch's autograd on the definition, and against cross-entropy where gamma is 0."""

import numpy
import pytest
import torch

from spacy_transfer.heads.losses import Focus, binary_cross_entropy, cross_entropy, smooth

RNG = numpy.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)) * 2
TRUTHS = numpy.eye(3)[[0, 2, 1, 1, 0, 2]]
TRUTHS[5] = [0.2, 0.5, 0.3]
MASK = numpy.ones((6, 3))
MASK[2] = 0
PART = MASK.copy()
PART[0, 1] = 0


@pytest.mark.parametrize("focal", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, numpy.array([0.5, 2.0, 1.0])])
def test_softmax(focal, smoothing, weights):
    logits = torch.tensor(LOGITS, requires_grad=True)
    p = torch.softmax(logits, 1)
    targets = torch.tensor(TRUTHS * (1 - smoothing) + smoothing / 3)
    per_doc = -(targets * (1 - p) ** focal * p.log()).sum(1) * torch.tensor(MASK[:, 0])
    if weights is not None:
        per_doc = per_doc * torch.tensor(TRUTHS @ weights)
    per_doc.sum().backward()
    value, gradient = cross_entropy(numpy, p.detach().numpy(), TRUTHS, MASK, weights, smoothing, focal)
    assert value == pytest.approx(per_doc.sum().item(), rel=1e-9)
    numpy.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-9)


@pytest.mark.parametrize("gammas", [(0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (0.0, 4.0), (1.0, 0.5), (3.0, 0.0)])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, numpy.array([0.5, 2.0, 1.0])])
def test_sigmoid(gammas, margin, smoothing, weights):
    """Ridnik et al. (2021), equations 4 to 7; with one gamma and no margin it is the focal loss."""
    logits = torch.tensor(LOGITS, requires_grad=True)
    p, targets = torch.sigmoid(logits), torch.tensor(TRUTHS * (1 - smoothing) + smoothing / 2)
    yes = targets * (1 - p) ** gammas[0] * p.log() * (1 if weights is None else torch.tensor(weights))
    taught = p > margin
    # torch's derivative of 0 ** gamma is infinite below 1, and NaN times 0.
    shifted = torch.where(taught, p - margin, 0.5)
    no = torch.where(taught, (1 - targets) * shifted ** gammas[1] * (1 - shifted).log(), 0.0)
    loss = -((yes + no) * torch.tensor(PART)).sum()
    loss.backward()
    assert taught.all() == (margin == 0)
    found = Focus(*gammas, margin)
    value, gradient = binary_cross_entropy(numpy, p.detach().numpy(), TRUTHS, PART, weights, smoothing, found)
    assert value == pytest.approx(loss.item(), rel=1e-9)
    numpy.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-9)


def test_gradient_by_finite_differences():
    """Without torch, once: the definition of the loss, moved a little in each logit."""

    def loss(logits):
        p = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
        return cross_entropy(numpy, p, TRUTHS, MASK, None, 0.1, 2.0)

    _, gradient = loss(LOGITS)
    for place in numpy.ndindex(LOGITS.shape):
        ends = []
        for sign in (1, -1):
            moved = LOGITS.copy()
            moved[place] += sign * 1e-5
            ends.append(loss(moved)[0])
        assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6)


def test_gamma_of_0_is_cross_entropy_bit_for_bit():
    scores = RNG.dirichlet([1, 1, 1], size=6).astype("f")
    truths, mask = TRUTHS.astype("f"), PART.astype("f")
    weights = numpy.array([0.5, 2.0, 1.0], dtype="f")
    targets = smooth(truths, 0.1, True)
    share = mask * (truths @ weights)[:, None]
    value, gradient = cross_entropy(numpy, scores, truths, mask, weights, 0.1, 0.0)
    assert value == float(-(share * targets * numpy.log(scores + 1e-30)).sum())
    assert (gradient == share * (scores - targets)).all()
    targets = smooth(truths, 0.1, False)
    yes, no = targets * weights, 1.0 - targets
    value, gradient = binary_cross_entropy(numpy, scores, truths, mask, weights, 0.1, Focus())
    assert value == float(-(mask * (yes * numpy.log(scores + 1e-30) + no * numpy.log(1.0 - scores + 1e-30))).sum())
    assert (gradient == mask * (scores * (yes + no) - yes)).all()


FOCI = [Focus(0.5, 0.5), Focus(2.0, 2.0), Focus(0.0, 4.0, 0.05), Focus(0.0, 0.0, 0.3)]


@pytest.mark.parametrize(
    ("loss", "focal"), [(cross_entropy, 0.5), (cross_entropy, 2.0), *((binary_cross_entropy, focus) for focus in FOCI)]
)
def test_certainty_gives_no_infinity(loss, focal):
    scores = numpy.eye(3, dtype="f")
    for truths in (scores, scores[::-1].copy()):
        value, gradient = loss(numpy, scores, truths, numpy.ones((3, 3), dtype="f"), None, 0.0, focal)
        assert numpy.isfinite(value) and numpy.isfinite(gradient).all()
    assert loss(numpy, scores, scores, numpy.ones((3, 3), dtype="f"), None, 0.0, focal)[0] == 0


@pytest.mark.parametrize("focus", FOCI)
def test_a_sure_mistake_is_corrected(focus):
    """Where float32 rounds a score to 1, the definition divides 0 by 0."""
    scores, truths = numpy.ones((1, 2), dtype="f"), numpy.array([[0.0, 1.0]], dtype="f")
    _, gradient = binary_cross_entropy(numpy, scores, truths, truths * 0 + 1, None, 0.0, focus)
    assert gradient[0, 1] == 0 and (gradient[0, 0] == 1 if focus.margin == 0 else gradient[0, 0] == 0)


def test_what_is_known_well_teaches_little():
    scores = numpy.array([[0.9, 0.1], [0.6, 0.4]])
    truths, mask = numpy.array([[1.0, 0.0], [1.0, 0.0]]), numpy.ones((2, 2))
    plain, focal = (cross_entropy(numpy, scores, truths, mask, None, 0.0, gamma)[1] for gamma in (0.0, 2.0))
    assert abs(focal[0, 0] / plain[0, 0]) < 0.1 * abs(focal[1, 0] / plain[1, 0])
