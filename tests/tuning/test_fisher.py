"""The diagonal against the mean of squares written out."""

import numpy
import pytest
import torch

from spacy_transfer.tuning.fisher import DiagonalFisher


@pytest.mark.parametrize("make", [numpy.array, torch.tensor])
def test_the_mean_is_over_the_examples_of_a_component(make):
    gradients = numpy.random.default_rng(0).normal(size=(5, 3)).astype("f")
    fisher = DiagonalFisher()
    for gradient in gradients[:4]:
        fisher.add("tagger", [("tagger.W", make(gradient))])
    fisher.add("tagger", [])  # An example without a gradient counts.
    fisher.add("ner", [("ner.W", make(gradients[4]))])
    like = make(numpy.ones(3, dtype="f"))
    numpy.testing.assert_allclose(fisher.mean("tagger.W", like), (gradients[:4] ** 2).sum(0) / 5, rtol=1e-6)
    numpy.testing.assert_allclose(fisher.mean("ner.W", like), gradients[4] ** 2, rtol=1e-6)
    numpy.testing.assert_array_equal(fisher.mean("other.W", like), numpy.zeros(3))
    assert "ner.W" in fisher and "other.W" not in fisher
    assert fisher.counts == {"tagger": 5, "ner": 1} and fisher.is_finite()


def test_given_gradients_stay_as_they_are():
    fisher, gradient = DiagonalFisher(), numpy.array([2.0, 3.0])
    fisher.add("a", [("W", gradient)])
    fisher.add("a", [("W", gradient)])
    assert gradient.tolist() == [2.0, 3.0]
    assert fisher.mean("W", gradient).tolist() == [4.0, 9.0]


@pytest.mark.parametrize("broken", [numpy.nan, numpy.inf])
def test_gradients_that_are_not_finite(broken):
    fisher = DiagonalFisher()
    fisher.add("a", [("V", numpy.ones(2)), ("W", numpy.array([1.0, broken]))])
    assert not fisher.is_finite()
