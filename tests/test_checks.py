"""Ranges against comparisons written out, and what is said of a setting out of range."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_transfer.checks import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, compile_pattern, require

NUMBERS = st.one_of(st.sampled_from([-1, 0, 0.0, 0.5, 1, 1.0, 2, math.nan, math.inf, -math.inf]), st.floats())


@given(NUMBERS)
def test_ranges(value):
    is_finite = math.isfinite(value)
    assert (value in COUNT) == (is_finite and value >= 1 and value == int(value))
    assert (value in NOT_NEGATIVE) == (is_finite and value >= 0)
    assert (value in POSITIVE) == (is_finite and value > 0)
    assert (value in SHARE) == (is_finite and 0 <= value <= 1)
    assert (value in BELOW_ONE) == (is_finite and 0 <= value < 1)


def test_what_is_no_number_is_in_no_range():
    assert not [value for value in ("1", None, [1], 1j) if value in NOT_NEGATIVE]


def test_ranges_in_words():
    assert str(COUNT) == "a whole number, 1 or more"
    assert str(POSITIVE) == "a number, more than 0"
    assert str(SHARE) == "a number, 0 or more, at most 1"
    assert str(Range(2, 3.5, has_low=False, has_high=False)) == "a number, more than 2, less than 3.5"


def test_settings_out_of_range():
    require("training.place", COUNT, one=1, none=None)
    with pytest.raises(ValueError, match=r"T215.*training\.place\.two.*0"):
        require("training.place", COUNT, one=1, two=0)


def test_patterns():
    assert compile_pattern("key", "a+").search("baab")
    with pytest.raises(ValueError, match=r"T216.*training\.key"):
        compile_pattern("training.key", "(")
