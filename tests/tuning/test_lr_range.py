"""The range test where losses are not finite. The rest stands in tests/cli/test_lr_find.py."""

import math

import numpy
import pytest

from spacy_transfer.tuning.lr_range import Losses, rates_between, suggest

RATES = rates_between(1e-5, 1.0, 40)
CURVE = [1.0 - 0.5 * math.exp(-((step - 25) ** 2) / 30) for step in range(40)]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_comes_after_a_loss_that_is_not_finite_is_not_read(broken):
    losses = [*CURVE[:35], broken, *CURVE[36:]]
    found, expected = suggest(RATES, losses), suggest(RATES, CURVE[:35])
    assert found.rate == expected.rate and found.minimum == RATES[25]
    numpy.testing.assert_array_equal(found.smoothed, expected.smoothed)


@pytest.mark.parametrize("losses", [[], [math.nan], [math.inf, *CURVE]])
def test_a_curve_that_is_never_finite_is_refused(losses):
    with pytest.raises(ValueError, match="T622"):
        suggest(RATES, losses)


def test_a_loss_that_is_not_finite_leaves_the_others_as_they_are():
    plain, hit = Losses(["head"]), Losses(["head"])
    for step in range(4):
        sums = {"head": 2.0 + 0.1 * (step % 2)}
        plain.add(dict(sums), 4, 20)
        hit.add({"head": math.nan} if step == 2 else dict(sums), 4, 20)
    curve = numpy.array(hit.curve())
    assert numpy.isnan(curve).tolist() == [False, False, True, False]
    numpy.testing.assert_allclose(curve[[0, 1, 3]], numpy.array(plain.curve())[[0, 1, 3]], rtol=0.05)


def test_a_unit_whose_variation_is_not_a_number_is_not_chosen():
    """The losses grow with the texts; without a unit their mean overflows, so that its variation is inf / inf."""
    huge, heads = 1.2e308, Losses(["head"])
    for n_texts in (1, 1, 1, 1):
        heads.add({"head": huge * n_texts}, 10, 100)
    numpy.testing.assert_allclose(heads.curve(), 1.0)
