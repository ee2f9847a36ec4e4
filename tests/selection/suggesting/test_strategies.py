"""Which texts the strategies choose."""

import numpy
import pytest

from spacy_transfer.selection.suggesting.scan import Scan
from spacy_transfer.selection.suggesting.strategies import BETA, choose, measure_of

GENERATOR = numpy.random.default_rng(0)
ROWS = GENERATOR.normal(size=(60, 5)).astype("f")
UNSURE = GENERATOR.uniform(size=60)


def found(rows=ROWS, unsure=UNSURE):
    return Scan(rows, unsure, [{}] * 60)


@pytest.mark.parametrize("strategy", ["margin", "entropy"])
def test_the_most_unsure_first(strategy):
    assert choose(found(), 5, strategy).indices.tolist() == sorted(range(60), key=lambda i: -UNSURE[i])[:5]
    assert measure_of(strategy) == strategy


@pytest.mark.parametrize(
    ("given", "used"),
    [(found(), "unsure-diverse"), (found(unsure=None), "cluster"), (found(rows=None), "margin")],
)
def test_auto_takes_what_there_is(given, used):
    assert choose(given, 3, "auto").strategy == used
    assert measure_of("auto") == "margin"


def test_unsure_first_then_unlike_each_other():
    choice = choose(found(), 4, "auto")
    allowed = set(numpy.argsort(-UNSURE)[: 4 * BETA].tolist())
    assert len(set(choice.indices.tolist())) == 4 and set(choice.indices.tolist()) < allowed
    assert sorted(choice.clusters) == [0, 1, 2, 3]


def test_the_largest_cluster_comes_first():
    rows = numpy.repeat(10 * numpy.eye(3, dtype="f"), [10, 30, 20], axis=0) + ROWS[:, :3] / 100
    sizes = [10, 30, 20]
    owners = numpy.repeat(range(3), sizes)[choose(found(rows, None), 3, "cluster").indices]
    assert [sizes[owner] for owner in owners] == [30, 20, 10]


@pytest.mark.parametrize("strategy", ["auto", "cluster", "diverse", "margin"])
@pytest.mark.parametrize("n", [7, 60])
def test_as_many_as_asked_for_even_of_equal_rows(strategy, n):
    indices = choose(found(numpy.ones((60, 3), "f")), n, strategy).indices
    assert len(indices) == len(set(indices.tolist())) == n


def test_the_same_seed_gives_the_same():
    for strategy in ("auto", "diverse", "cluster"):
        assert choose(found(), 6, strategy, 3).indices.tolist() == choose(found(), 6, strategy, 3).indices.tolist()


@pytest.mark.parametrize("strategy", ["margin", "entropy", "unsure-diverse"])
def test_without_a_head(strategy):
    with pytest.raises(ValueError, match=f"T936.*{strategy}.*trained head"):
        choose(found(unsure=None), 3, strategy)


@pytest.mark.parametrize("strategy", ["diverse", "cluster", "unsure-diverse"])
def test_without_rows(strategy):
    with pytest.raises(ValueError, match=f"T936.*{strategy}.*rows"):
        choose(found(rows=None), 3, strategy)


def test_with_neither():
    with pytest.raises(ValueError, match="T932"):
        choose(found(None, None), 3, "auto")
