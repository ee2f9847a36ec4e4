"""The page of a search: all that was tried, in tables and pictures that hold to their frames."""

import math
import re
from xml.etree import ElementTree

import pytest

from spacy_transfer.reports.search_page import Tried, history, importance, make_search_page, slice_of

TRIALS = [
    Tried(0, "complete", 0.5, 20, 3.0, {"a.rate": 0.001, "a.kind": "x"}),
    Tried(1, "pruned", 0.25, 5, 1.0, {"a.rate": 0.1, "a.kind": "<y>"}),
    Tried(2, "fail", None, 0, 0.0, {"a.rate": 0.01}, "it said <no> & stopped"),
    Tried(3, "complete", 0.75, 20, 3.0, {"a.rate": 0.01, "a.kind": ["x", 1]}),
]
SCORED = [trial for trial in TRIALS if trial.score is not None]


def circles(svg):
    found = re.findall(r'<circle[^>]*cx="([-\d.]+)" cy="([-\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_the_page_holds_all():
    page = make_search_page(TRIALS, {"a.rate": 0.9, "a.kind": 0.1}, {"a.rate"}, {"config": "c.cfg"})
    for part in ("optimistic", "c.cfg", "it said &lt;no&gt; &amp; stopped", "a.rate 90%", "0.7500", "&lt;y&gt;"):
        assert part in page
    assert "<y>" not in page and "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    rows = re.findall(r'<tr><th scope="row">(\d)</th>', page)
    assert rows == ["3", "0", "1", "2"]
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_without_a_score():
    page = make_search_page(TRIALS[2:3], {}, set(), {})
    assert "<svg" not in page and "stopped" in page


def test_history():
    svg = history(SCORED)
    found = circles(svg)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    # Heights are as the scores, and the line is the best so far.
    ys = [y for _, y in found]
    assert (ys[0] - ys[1]) / (ys[0] - ys[2]) == pytest.approx((0.5 - 0.25) / (0.5 - 0.75), abs=0.01)
    line = re.search(r'points="([^"]+)"', svg)[1].split()
    assert [float(point.split(",")[1]) for point in line] == [ys[0], ys[0], ys[2]]


def test_slices():
    found = circles(slice_of(SCORED, "a.rate", True))
    places = [math.log10(trial.params["a.rate"]) for trial in SCORED]
    xs = [x for x, _ in found]
    assert (xs[2] - xs[0]) / (xs[1] - xs[0]) == pytest.approx(
        (places[2] - places[0]) / (places[1] - places[0]), abs=0.01
    )
    assert len({x for x, _ in circles(slice_of(SCORED, "a.kind", False))}) == 3
    same = [Tried(i, "complete", 0.5, 1, 1.0, {"b": 3}) for i in range(2)]
    assert all(0 < x < 460 and 0 < y < 300 for x, y in circles(slice_of(same, "b", True)))


def test_importance():
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="12"', importance({"a": 0.75, "b": 0.25}))]
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.01)
    assert importance({"a": 0.0}).count("<rect") == 1
