"""Which rates of which optimizers are known to be too high."""

import pytest
from thinc.api import SGD, Adam, warmup_linear

from spacy_transfer.tuning.optimizers import adamw_v1
from spacy_transfer.tuning.risk import is_adam, risky_rate


@pytest.mark.parametrize(("rate", "risky"), [(1e-3, 1e-3), (1e-4, 1e-4), (0.99e-4, None), (2e-5, None)])
def test_constant_rates(rate, risky):
    assert risky_rate(Adam(rate)) == (None if risky is None else pytest.approx(risky))


def test_schedules_count_with_their_highest_rate():
    assert risky_rate(Adam(warmup_linear(5e-4, 10, 100))) == pytest.approx(5e-4)
    assert risky_rate(Adam(warmup_linear(5e-5, 10, 100))) is None


def test_ours_and_what_is_no_optimizer():
    assert risky_rate(adamw_v1(learn_rate=1.0)) is None and risky_rate(object()) is None
    assert is_adam(adamw_v1()) and is_adam(Adam(0.1)) and not is_adam(SGD(0.1)) and not is_adam(object())
