"""Resampling: against loops over docs and the formula of the jackknife."""

import numpy
import pytest

from spacy_transfer.selection import resampling
from spacy_transfer.selection.estimators.estimate import Estimate, Targets
from spacy_transfer.selection.resampling import FOLDS, Scored, combine, draws, equal_to_best, score, within_one_error

RANDOM = numpy.random.default_rng(0)


def ranks_of(values):
    return [1 + sum(o < v for o in values) + 0.5 * (sum(o == v for o in values) - 1) for v in values]


def test_the_bootstrap_takes_docs_with_all_their_rows(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 20)
    docs = numpy.array([0, 0, 1, 2, 2, 2, 3])
    parts = [RANDOM.random(7), RANDOM.random(7)]
    found = draws([Scored(part.mean(), part) for part in parts], docs, 4, seed=3)
    counts = numpy.random.default_rng(3).multinomial(4, [0.25] * 4, size=20)
    for drawn, row in zip(counts, found, strict=True):
        chosen = [i for doc, n in enumerate(drawn) for _ in range(n) for i in numpy.flatnonzero(docs == doc)]
        numpy.testing.assert_allclose(row, [part[chosen].mean() for part in parts])


def test_the_jackknife_where_there_are_no_parts():
    """The mean as an estimate without parts: draws have the jackknife's covariance, known in closed form."""
    rows, docs = RANDOM.normal(size=(200, 2)), numpy.arange(200)
    targets = Targets("classes", numpy.arange(200) % 2)
    both = [score(lambda x, t, i=i: Estimate(float(x[:, i].mean())), rows, targets, docs, 1) for i in range(2)]
    without = numpy.stack([one.without for one in both])
    assert without.shape == (2, FOLDS)
    wanted = (FOLDS - 1) * numpy.cov(without) * (FOLDS - 1) / FOLDS
    sampled = draws(both, docs, 200, 0)
    numpy.testing.assert_allclose(numpy.cov(sampled.T), wanted, atol=0.15 * wanted.max())
    numpy.testing.assert_allclose(numpy.sqrt(numpy.diag(wanted)), rows.std(axis=0) / 200**0.5, rtol=0.6)
    numpy.testing.assert_allclose([one.score for one in both], rows.mean(axis=0))


def test_estimates_with_parts_are_made_once():
    calls = []

    def estimator(rows, targets):
        calls.append(len(rows))
        return Estimate(0.5, numpy.full(len(rows), 0.5))

    score(estimator, numpy.zeros((6, 1)), Targets("classes", numpy.arange(6)), numpy.arange(6), 0)
    assert calls == [6]


def test_several_heads_are_combined_by_weighted_ranks():
    heads = [RANDOM.integers(0, 3, size=(5, 4)).astype("d"), RANDOM.random((5, 4))]
    found = combine(heads, [2.0, 1.0])
    for i in range(5):
        first, second = (ranks_of((-head[i]).tolist()) for head in heads)
        numpy.testing.assert_allclose(found[i], [-(2 * a + b) / 3 for a, b in zip(first, second, strict=True)])
    assert combine(heads[:1], [3.0]) is heads[0]


@pytest.mark.parametrize(("gap", "equal", "close"), [(0.5, True, True), (1.5, True, False), (3.0, False, False)])
def test_what_cannot_be_told_apart(gap, equal, close):
    """Differences with a standard deviation of 1."""
    noise = RANDOM.normal(size=(4000, 1))
    combined = numpy.concatenate([numpy.zeros((4000, 1)), noise - gap], axis=1)
    assert equal_to_best(combined, 0).tolist() == [True, equal]
    assert within_one_error(numpy.array([0.0, -gap]), combined, 0).tolist() == [True, close]
