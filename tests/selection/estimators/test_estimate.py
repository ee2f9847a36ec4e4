"""What all estimators refuse, and what they make of rows and targets that are hardly any."""

import numpy
import pytest
from spacy import registry

from spacy_transfer.selection.estimators.estimate import Targets, check

NAMES = ("HScore", "LinearProbe", "LogME", "NLeep", "NearestNeighbours")
WITH_PARTS = {"LinearProbe", "NLeep", "NearestNeighbours"}
N, WIDTH = 30, 6


def score(name, rows, kind, values, groups=None, **settings):
    return registry.misc.get(f"spacy-transfer.{name}.v1")(**settings)(rows, Targets(kind, values, groups))


def drawn(kind, n=N, width=WIDTH, seed=0):
    """Rows that know something about their targets, and the targets."""
    random = numpy.random.default_rng(seed)
    values = {
        "classes": numpy.arange(n) % 3,
        "multilabel": (random.random((n, 3)) < 0.4).astype("f"),
        "numbers": random.normal(size=(n, 2)),
    }[kind]
    columns = numpy.eye(3)[values] if kind == "classes" else values
    rows = columns @ random.normal(size=(columns.shape[1], width)) + random.normal(size=(n, width))
    return rows.astype("f"), values


KINDS = [
    (name, kind)
    for name in NAMES
    for kind in ("classes", "multilabel", "numbers")
    if (name, kind) != ("NLeep", "numbers")
]


@pytest.mark.parametrize("name,kind", KINDS)
def test_rows_that_know_their_targets_score_higher(name, kind):
    rows, values = drawn(kind, 60)
    estimate = score(name, rows, kind, values)
    # The same rows in another order know nothing.
    assert estimate.score > score(name, numpy.random.default_rng(1).permutation(rows), kind, values).score
    assert (estimate.parts is not None) == (name in WITH_PARTS)
    if estimate.parts is not None:
        assert estimate.parts.shape == (60,) and estimate.parts.mean() == pytest.approx(estimate.score, abs=1e-12)
    assert score(name, rows, kind, values).score == estimate.score


@pytest.mark.parametrize("name,kind", KINDS)
def test_few_rows_and_rows_of_one_value_give_finite_scores(name, kind):
    rows, values = drawn(kind)
    wide, _ = drawn(kind, width=100)
    constant = numpy.concatenate([rows, numpy.full((N, 1), 3.0, "f")], axis=1)
    two = numpy.array([0, N - 1])
    for given, truths in (
        (wide, values),
        (constant, values),
        (numpy.ones_like(rows), values),
        (rows[two], values[two]),
    ):
        assert numpy.isfinite(score(name, given, kind, truths).score)
    # What never varies is left out of the targets.
    if kind != "classes":
        more = numpy.concatenate([values, numpy.ones((N, 1))], axis=1)
        assert score(name, rows, kind, more).score == score(name, rows, kind, values).score


@pytest.mark.parametrize("name", NAMES)
def test_what_says_nothing_is_refused(name):
    rows, values = drawn("classes")
    hole = rows.copy()
    hole[4, 1], hole[7, 0] = numpy.nan, numpy.inf
    for given, truths, groups, code in (
        (rows[:1], values[:1], None, "T880"),
        (rows[:0], values[:0], None, "T880"),
        (rows, values[1:], None, "T880"),
        (rows, values, numpy.zeros(N, dtype=int), "T880"),
        (rows, values, numpy.arange(N - 1), "T880"),
        (rows[:, :0], values, None, "T880"),
        (hole, values, None, "T881.* 2 of 30 .* row 4"),
        (rows, numpy.zeros(N, dtype=int), None, "T882"),
        (rows, values.astype("f"), None, "T884"),
    ):
        with pytest.raises(ValueError, match=code):
            score(name, given, "classes", truths, groups)


def test_targets_that_are_not_of_their_kind_are_refused():
    rows, _ = drawn("classes")
    ones = numpy.ones((N, 2))
    for kind, values, code in (
        ("multilabel", ones / 2, "T884"),
        ("multilabel", ones[:, 0], "T884"),
        ("multilabel", ones, "T882"),
        ("numbers", ones * numpy.nan, "T884"),
        ("numbers", ones, "T882"),
        ("tags", ones, "T884"),
    ):
        with pytest.raises(ValueError, match=code):
            check(rows, Targets(kind, values))
    with pytest.raises(ValueError, match="T883"):
        score("NLeep", rows, "numbers", ones)


@pytest.mark.parametrize(
    "name,settings",
    [
        ("LinearProbe", {"folds": 1}),
        ("NearestNeighbours", {"k": 0}),
        ("NLeep", {"components": 0}),
        ("NLeep", {"variance": 1.5}),
        ("NLeep", {"variance": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ValueError, match="T215"):
        score(name, *drawn("classes")[:1], "classes", None, **settings)
