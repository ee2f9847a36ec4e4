"""Which candidate is the best, and which is recommended, by scores and costs that are known."""

from types import SimpleNamespace

import numpy
import pytest

from spacy_transfer.selection.costs import Cost
from spacy_transfer.selection.ranking import Line, Settings, _choose, _compare
from spacy_transfer.selection.resampling import Scored

N = 200
SPEEDS = {"slow": 10.0, "near": 40.0, "nearer": 30.0, "dominated": 5.0, "far": 900.0}
# From where to where each is right.
RIGHT = {"slow": (0, 150), "near": (8, 153), "nearer": (3, 152), "dominated": (0, 100), "far": (0, 90)}
TASK = SimpleNamespace(head=SimpleNamespace(name="head", weight=1.0), gold=SimpleNamespace(docs=numpy.arange(N)))


def compare(**settings):
    """The names of the best and of the recommended, and the lines by name."""
    lines = [
        Line(SimpleNamespace(name=name), None, True, {}, {"head": scored(*RIGHT[name])}, Cost(speed, 9.0, None, 1.0))
        for name, speed in SPEEDS.items()
    ]
    _compare(lines, [TASK], N, Settings(None, **settings))
    return [line.candidate.name for line in _choose(lines)], {line.candidate.name: line for line in lines}


def scored(first, end):
    places = numpy.arange(N)
    parts = ((first <= places) & (places < end)).astype("f8")
    return Scored(parts.mean(), parts)


def test_the_fastest_within_one_standard_error_is_recommended():
    """In places: "nearer" is 1 below "slow", and 5 differ, so that one standard error is sqrt(5) = 2.2. "near" is 5
    below, one error is sqrt(11) = 3.3, and 95% are 6.5."""
    (best, chosen), lines = compare()
    assert list(lines) == ["slow", "nearer", "near", "dominated", "far"]
    assert (best, chosen) == ("slow", "nearer")
    assert [name for name, line in lines.items() if line.on_frontier] == ["slow", "nearer", "near", "far"]
    assert {name for name, line in lines.items() if line.is_equal} == {"slow", "nearer", "near"}


def test_constraints_leave_out_the_best():
    (best, chosen), lines = compare(min_speed=35.0)
    assert (best, chosen) == ("near", "near") and not lines["slow"].fits
    with pytest.raises(ValueError, match=r"T893.*900"):
        compare(min_speed=1000.0)
