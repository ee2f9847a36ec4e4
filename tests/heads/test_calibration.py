"""Temperature, calibration error and thresholds, each against the slow and plain way."""

from itertools import product

import numpy
import pytest
import torch

from spacy_transfer.heads.calibration import (
    HIGHEST,
    LOWEST,
    LabelDecisions,
    calibration_error,
    error_of,
    fit_temperature,
    mean_nll,
)
from spacy_transfer.heads.tagging.crf import Transitions, viterbi
from spacy_transfer.heads.tagging.token_decisions import TagDecisions
from spacy_transfer.heads.thresholds import best_threshold


def decisions(exclusive, scale=3.0, n=400, seed=0, part=False):
    """Logits that are `scale` times too large for the labels that were drawn from them."""
    rng = numpy.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 1.5
    if exclusive:
        p = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
        truths = numpy.eye(4)[[rng.choice(4, p=row) for row in p]]
    else:
        truths = (rng.random(size=(n, 4)) < 1 / (1 + numpy.exp(-logits))).astype("d")
    mask = numpy.ones((n, 4))
    if part:
        mask[::3] = 0
        if not exclusive:
            mask[1::3, 2] = 0
    return LabelDecisions(logits * scale, truths, mask, exclusive)


def torch_nll(given, temperature):
    logits, truths = torch.tensor(given.logits / temperature), torch.tensor(given.truths)
    mask = torch.tensor(given.mask)
    if given.exclusive:
        per_doc = torch.nn.functional.cross_entropy(logits, truths, reduction="none")
        return float((per_doc * mask[:, 0]).sum() / mask[:, 0].sum())
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truths, reduction="none")
    return float((each * mask).sum() / mask.sum())


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("part", [True, False])
def test_the_temperature_is_the_best_of_a_dense_grid(exclusive, part):
    given = decisions(exclusive, part=part)
    for temperature in (0.7, 1.0, 3.0):
        assert mean_nll([given], temperature) == pytest.approx(torch_nll(given, temperature), rel=1e-9)
    grid = numpy.linspace(1, 6, 1001)
    best = grid[numpy.argmin([torch_nll(given, t) for t in grid])]
    found = fit_temperature([given])
    assert found == pytest.approx(best, abs=0.006)
    assert 2 < found < 4.5
    assert error_of([given], found) < 0.5 * error_of([given], 1.0)


@pytest.mark.parametrize("exclusive", [True, False])
def test_parts_are_one_whole(exclusive):
    whole = decisions(exclusive, part=True)
    parts = [
        LabelDecisions(whole.logits[s], whole.truths[s], whole.mask[s], exclusive)
        for s in (slice(0, 1), slice(1, 150), slice(150, None))
    ]
    assert sum(map(len, parts)) == len(whole)
    assert fit_temperature(parts) == pytest.approx(fit_temperature([whole]), rel=1e-3)
    assert error_of(parts, 2.0) == pytest.approx(error_of([whole], 2.0))


@pytest.mark.parametrize("exclusive", [True, False])
def test_very_large_logits(exclusive):
    given = decisions(exclusive, scale=1.0)
    given.logits[0] = [1000.0, -1000.0, 0.0, 0.0]
    assert numpy.isfinite(given.nll(0.5)) and numpy.isfinite(given.scores(0.02)).all()


@pytest.mark.parametrize("exclusive", [True, False])
def test_no_temperature_is_best(exclusive):
    given = decisions(exclusive)
    given.logits = (2 * given.truths - 1) * 5.0
    assert fit_temperature([given]) is None  # All right: the colder, the better.
    given.logits = -given.logits
    assert fit_temperature([given]) is None  # All wrong: the hotter, the better.
    given.logits = given.logits * 0
    assert fit_temperature([given]) is None  # Nothing learned: all the same.


def crf_decisions(scale, n=60, seed=0):
    """Tags that were drawn from a CRF, which then became `scale` times as sure."""
    rng, n_tags = numpy.random.default_rng(seed), 3
    lengths = numpy.full(n, 5)
    logits = rng.normal(size=(lengths.sum(), n_tags)) * 2
    transitions = Transitions(*(rng.normal(size=size) for size in (n_tags, (n_tags, n_tags), n_tags)))
    ways = numpy.array(list(product(range(n_tags), repeat=5)))
    golds = []
    for part in numpy.split(logits, n):
        scores = part[numpy.arange(5), ways].sum(1) + transitions.start[ways[:, 0]] + transitions.end[ways[:, -1]]
        scores += transitions.matrix[ways[:, :-1], ways[:, 1:]].sum(1)
        golds.append(ways[rng.choice(len(ways), p=numpy.exp(scores) / numpy.exp(scores).sum())])
    transitions = transitions.map(lambda part: part * scale)
    tags = viterbi(logits * scale, lengths, transitions)
    return TagDecisions(logits * scale, lengths, transitions, tags, numpy.concatenate(golds))


@pytest.mark.parametrize("scale", [1.75, 8.0])
def test_a_crf_that_is_too_sure(scale):
    """At the lowest temperatures its scores lie thousands apart: nothing there may be NaN, or win."""
    given = crf_decisions(scale)
    assert all(numpy.isfinite(given.nll(t)) for t in numpy.geomspace(LOWEST, HIGHEST, 40))
    found = fit_temperature([given])
    assert found == pytest.approx(scale, rel=0.25)
    assert given.nll(found) < given.nll(1.0) and error_of([given], found) < error_of([given], 1.0)


class Broken:
    """Decisions whose likelihood is NaN at some temperatures."""

    def __init__(self, is_broken):
        self.is_broken = is_broken

    def __len__(self):
        return 1

    def nll(self, temperature):
        return numpy.nan if self.is_broken(temperature) else numpy.log(temperature / 3.0) ** 2


def test_no_nan_is_the_best():
    for limit in (0.05, 0.5, 2.0):
        assert fit_temperature([Broken(lambda t, limit=limit: t < limit)]) == pytest.approx(3.0, rel=1e-3)
    assert fit_temperature([Broken(lambda t: t > 4.0)]) == pytest.approx(3.0, rel=1e-3)
    assert fit_temperature([Broken(lambda t: True)]) is None


@pytest.mark.parametrize("bins", [1, 3, 15])
def test_calibration_error_is_the_plain_loops(bins):
    rng = numpy.random.default_rng(1)
    confidences = numpy.append(rng.random(200), [0.0, 1.0, 1 / 3, 2 / 3])
    right = (rng.random(204) < confidences**2).astype("d")
    expected = 0.0
    for i in range(bins):
        inside = [
            (c, r)
            for c, r in zip(confidences, right, strict=True)
            if (i / bins < c or i == 0) and (c <= (i + 1) / bins)
        ]
        if inside:
            gap = numpy.mean([r for _, r in inside]) - numpy.mean([c for c, _ in inside])
            expected += len(inside) / 204 * abs(gap)
    assert calibration_error(confidences, right, bins) == pytest.approx(expected)
    assert calibration_error([], []) is None


def f1(scores, truths, threshold):
    said = scores >= threshold
    return 2 * (said & truths).sum() / (said.sum() + truths.sum())


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_is_the_best_of_all(seed):
    rng = numpy.random.default_rng(seed)
    scores = numpy.round(rng.random(40), 1 + seed % 2)  # Many are equal.
    truths = rng.random(40) < scores**2
    threshold, value = best_threshold(scores, truths)
    every = [f1(scores, truths, t) for t in numpy.unique(scores)]
    assert f1(scores, truths, threshold) == pytest.approx(max(every))
    assert value == pytest.approx(max(every))
    assert threshold not in scores


def test_of_equal_cuts_the_one_near_half_the_best_f1():
    # F1 is 2/3 with one text taken and with all four; half of it is 1/3.
    scores, truths = numpy.array([0.9, 0.5, 0.3, 0.28]), numpy.array([1, 0, 0, 1])
    assert f1(scores, truths.astype(bool), 0.7) == f1(scores, truths.astype(bool), 0.14)
    assert best_threshold(scores, truths)[0] == pytest.approx(0.14)
    scores = numpy.array([0.6, 0.1, 0.08, 0.06])
    assert best_threshold(scores, truths)[0] == pytest.approx(0.35)


def test_a_label_without_both_kinds_of_text():
    assert best_threshold(numpy.array([0.2, 0.8]), numpy.array([1, 1])) is None
    assert best_threshold(numpy.array([0.2, 0.8]), numpy.array([0, 0])) is None
    assert best_threshold(numpy.zeros(0), numpy.zeros(0)) is None
