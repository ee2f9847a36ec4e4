"""How unsure a head is, against plain loops and scipy."""

import numpy
import pytest
from scipy.stats import entropy

from spacy_transfer.selection.suggesting.unsure import nearness, of_classes, of_decisions

SCORES = numpy.random.default_rng(0).dirichlet(numpy.ones(4), size=20)
THRESHOLDS = numpy.array([0.5, 0.2, 0.9, 0.5])


def test_the_margin_is_between_the_two_highest():
    for found, row in zip(of_classes(SCORES, "margin"), SCORES, strict=True):
        first, second = sorted(row)[::-1][:2]
        assert found == pytest.approx(1 - (first - second))


def test_entropy_is_a_share_of_the_highest_one():
    assert of_classes(SCORES, "entropy") == pytest.approx([entropy(row) / numpy.log(4) for row in SCORES])


@pytest.mark.parametrize("measure", ["margin", "entropy"])
def test_the_bounds(measure):
    sure, unsure = numpy.eye(3)[:1], numpy.full((1, 3), 1 / 3)
    assert of_classes(sure, measure) == pytest.approx(0.0)
    assert of_classes(unsure, measure) == pytest.approx(1.0)
    half = numpy.full(3, 0.5)
    assert of_decisions(sure, half, measure) == pytest.approx(0.0)
    assert of_decisions(half[None], half, measure) == pytest.approx(1.0)


def test_decisions_are_unsure_at_their_thresholds():
    found = of_decisions(SCORES, THRESHOLDS, "margin")
    for i, row in enumerate(SCORES):
        each = [1 - abs(p - t) / max(t, 1 - t) for p, t in zip(row, THRESHOLDS, strict=True)]
        assert found[i] == pytest.approx(max(each))
    assert nearness(THRESHOLDS[None], THRESHOLDS) == pytest.approx(1.0)


def test_entropy_of_decisions_is_a_mean_in_bits():
    wanted = [numpy.mean([entropy([p, 1 - p], base=2) for p in row]) for row in SCORES]
    assert of_decisions(SCORES, THRESHOLDS, "entropy") == pytest.approx(wanted)
