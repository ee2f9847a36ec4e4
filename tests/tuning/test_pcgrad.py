"""PCGrad against vectors that are projected one by one."""

import math
from random import Random

import numpy
import pytest

from spacy_transfer.tuning.pcgrad import cosines, project


def pcgrad(gradients, random):
    """Yu et al. 2020, algorithm 1, as it stands."""
    total = numpy.zeros_like(gradients[0])
    for i, gradient in enumerate(gradients):
        projected = gradient.copy()
        others = [j for j in range(len(gradients)) if j != i]
        random.shuffle(others)
        for j in others:
            product = projected @ gradients[j]
            if product < 0:
                projected -= product / (gradients[j] @ gradients[j]) * gradients[j]
        total += projected
    return total


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(5))
def test_projection_of_products_is_that_of_vectors(n_tasks, seed):
    gradients = numpy.random.default_rng(seed).normal(size=(n_tasks, 4))
    shares = project(gradients @ gradients.T, Random(seed))
    numpy.testing.assert_allclose(shares @ gradients, pcgrad(gradients, Random(seed)), atol=1e-9)


def test_two_tasks_in_closed_form():
    """Two unit vectors at 120 degrees: each keeps what is at right angles to the other."""
    gradients = numpy.array([[1.0, 0.0], [-0.5, math.sqrt(3) / 2]])
    products = gradients @ gradients.T
    numpy.testing.assert_allclose(project(products, Random(0)), [1.5, 1.5])
    assert cosines(products)[0, 1] == pytest.approx(-0.5)


def test_without_conflict_nothing_changes():
    gradients = numpy.abs(numpy.random.default_rng(0).normal(size=(4, 5)))
    assert (project(gradients @ gradients.T, Random(0)) == 1.0).all()


def test_zero_and_broken_gradients():
    gradients = numpy.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    products = gradients @ gradients.T
    shares = project(products, Random(0))
    assert numpy.isfinite(shares).all() and shares[1] == 1.0
    assert numpy.isnan(cosines(products)[1]).all() and cosines(products)[0, 2] == pytest.approx(-math.sqrt(0.5))
    products[0, 0] = numpy.inf
    assert (project(products, Random(0)) == 1.0).all()
