"""Strengths by name, and the pull against differences of the penalty."""

import numpy
import pytest
import torch

from spacy_transfer.tuning.anchors import pull, pull_of, strengths

NAMES = ["layer.0.w", "layer.1.w", "head.w"]


def test_strengths():
    assert strengths(None, NAMES) == {} == strengths(0, NAMES)
    assert strengths(2, NAMES) == dict.fromkeys(NAMES, 2.0)
    assert strengths({r"\.1\.": 3, "layer": 1, "head": 0}, NAMES) == {"layer.1.w": 3.0, "layer.0.w": 1.0}
    with pytest.raises(ValueError, match=r"T650.*tuning\.anchor.*nothing"):
        strengths({"layer": 1, "nothing": 2}, NAMES)


@pytest.mark.parametrize("make", [numpy.array, torch.tensor])
@pytest.mark.parametrize("weighed", [False, True])
def test_the_pull_is_the_gradient_of_the_penalty(make, weighed):
    rng = numpy.random.default_rng(0)
    weights, origin, importance = rng.normal(size=4), rng.normal(size=4), rng.random(4)
    weights_before = weights.copy()

    def penalty(w):
        return 0.35 * float(((importance if weighed else 1.0) * (w - origin) ** 2).sum())

    wanted = [(penalty(weights + step) - penalty(weights - step)) / 2e-6 for step in numpy.eye(4) * 1e-6]
    given = make(importance) if weighed else None
    numpy.testing.assert_allclose(pull_of(make(weights), make(origin), 0.7, given), wanted, atol=1e-8)
    assert (weights == weights_before).all()


def test_the_pull_is_added_to_the_gradient():
    class Parameter:
        value, gradient = numpy.array([3.0]), numpy.array([1.0])

        def add_gradient(self, more):
            self.gradient = self.gradient + more

    parameter = Parameter()
    pull(parameter, numpy.array([1.0]), 0.5, numpy.array([4.0]))
    assert parameter.gradient.tolist() == [5.0]
