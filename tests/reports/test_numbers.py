"""What a report counts, each against loops over documents."""

import math
from collections import Counter

import numpy
import pytest

from spacy_transfer.reports.numbers import (
    OTHER,
    Calibration,
    Proportion,
    Score,
    confusion,
    exact_interval,
    length_groups,
    macro,
    micro,
    share,
    with_interval,
    within,
)

RNG = numpy.random.default_rng(3)
COUNTS = RNG.integers(0, 3, size=(12, 3, 3)).astype(float)


def slow_f1(docs):
    tp, fp, fn = (sum(COUNTS[i, j, k] for i in docs for j in range(3)) for k in range(3))
    return 2 * tp / (2 * tp + fp + fn)


def slow_macro(docs):
    found = []
    for j in range(3):
        tp, fp, fn = (sum(COUNTS[i, j, k] for i in docs) for k in range(3))
        if tp + fp + fn:
            found.append(2 * tp / (2 * tp + fp + fn))
    return sum(found) / len(found)


@pytest.mark.parametrize(("statistic", "slow"), [(micro(COUNTS), slow_f1), (macro(COUNTS), slow_macro)])
def test_interval_is_that_of_docs_drawn_one_by_one(statistic, slow):
    score = with_interval("F1", statistic, 12, resamples=200, seed=7)
    assert score.value == pytest.approx(slow(range(12)))
    draws = numpy.random.default_rng(7)
    scores = []
    for _ in range(200):
        times = draws.multinomial(12, [1 / 12] * 12)
        scores.append(slow([i for i, n in enumerate(times) for _ in range(n)]))
    scores.sort()
    # Percentiles by hand: between the two nearest of the sorted scores.
    for end, place in ((score.low, 0.025 * 199), (score.high, 0.975 * 199)):
        below = math.floor(place)
        wanted = scores[below] + (place - below) * (scores[below + 1] - scores[below])
        assert end == pytest.approx(wanted)


def test_interval_of_a_share_is_about_the_normal_one():
    hits = (numpy.arange(400) % 4 > 0).astype(float)
    score = with_interval("accuracy", share(hits, numpy.ones(400)), 400, resamples=2000)
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert score.value == 0.75
    assert (score.low, score.high) == (pytest.approx(0.75 - half, abs=0.008), pytest.approx(0.75 + half, abs=0.008))


def test_precision_and_recall():
    ones = numpy.ones(12, dtype=int)
    tp, fp, fn = COUNTS.sum(axis=(0, 1))
    assert micro(COUNTS, "p")(ones) == pytest.approx(tp / (tp + fp))
    assert micro(COUNTS, "r")(ones) == pytest.approx(tp / (tp + fn))


def test_scores_that_are_not_defined():
    nothing = with_interval("F1", micro(numpy.zeros((3, 2, 3))), 3, resamples=10)
    assert all(math.isnan(value) for value in (nothing.value, nothing.low, nothing.high))
    assert math.isnan(macro(numpy.zeros((3, 2, 3)))(numpy.ones(3)))
    assert math.isnan(share(numpy.zeros(2), numpy.zeros(2))(numpy.ones(2)))


def test_calibration_against_a_loop():
    confidence = numpy.concatenate([RNG.random(50), [0.0, 0.1, 1.0]])
    correct = (RNG.random(53) < confidence).astype(float)
    doc = numpy.arange(53) % 5
    calibration = Calibration(confidence, correct, doc)
    for times in ([1] * 5, [2, 0, 1, 1, 1]):
        bins = [[] for _ in range(15)]
        for c, right, d in zip(confidence, correct, doc, strict=True):
            bins[max(math.ceil(c * 15) - 1, 0)] += [(c, right)] * times[d]
        total = sum(map(len, bins))
        error = 0.0
        for inside in filter(None, bins):
            means = [sum(column) / len(inside) for column in zip(*inside, strict=True)]
            error += len(inside) / total * abs(means[0] - means[1])
        assert calibration.error()(numpy.array(times)) == pytest.approx(error)
    shown = calibration.bins()
    assert sum(b.n for b in shown) == 53
    for b in shown:
        inside = [i for i, c in enumerate(confidence) if b.low < c <= b.high or (c == 0.0 and b.low == 0.0)]
        assert (b.n, b.accuracy) == (len(inside), pytest.approx(sum(correct[inside]) / len(inside)))


def test_confusion_against_a_loop():
    pairs = [(str(a), str(b)) for a, b in RNG.integers(0, 5, size=(100, 2))]
    found = confusion(pairs)
    for (gold, guess), n in Counter(pairs).items():
        assert found.counts[found.rows.index(gold), found.columns.index(guess)] == n
    assert found.counts.sum() == 100 and found.rows == sorted(found.rows) == found.columns


def test_of_many_labels_those_with_mistakes_are_shown():
    pairs = [(f"L{i:02}", f"L{i:02}") for i in range(30)] + [("L29", "L05")] * 2 + [("L11", "L12")]
    found = confusion(pairs, most=4)
    assert found.rows == ["L05", "L11", "L12", "L29", OTHER]
    assert found.counts.sum() == len(pairs)
    assert found.counts[3].tolist() == [2, 0, 0, 1, 0] and found.counts[4].tolist() == [0, 0, 0, 0, 26]


@pytest.mark.parametrize("lengths", [[5], [3, 3, 3], list(range(100)), [0, 0, 1, 9, 9, 9, 200]])
def test_groups_by_length(lengths):
    groups = length_groups(lengths)
    assert sorted(i for _, _, own in groups for i in own) == list(range(len(lengths)))
    assert 1 <= len(groups) <= 5
    for low, high, own in groups:
        assert {lengths[i] for i in own} >= {low, high} and all(low <= lengths[i] <= high for i in own)
    assert all(a[1] < b[0] for a, b in zip(groups, groups[1:], strict=False))


def test_score_within_a_group():
    own = numpy.array([1, 4, 5])
    part = within(micro(COUNTS), own, 12)
    assert part(numpy.array([1, 2, 0])) == pytest.approx(slow_f1([1, 4, 4]))


@pytest.mark.parametrize(("right", "low", "high"), [(1.0, 0.8843, 1.0), (0.0, 0.0, 0.1157)])
def test_the_interval_of_all_or_none(right, low, high):
    """Of 30 of 30: draws of the same docs are all alike, and an interval without width would say that it is certain."""
    hits = numpy.full(30, right)
    score = with_interval("accuracy", share(hits, numpy.ones(30)), 30, resamples=20)
    assert score.how == "all alike"
    assert (score.value, score.low, score.high) == (right, pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (36, 37, 0.8584, 0.9993),
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (50, 100, 0.3983, 0.6017),
        (1, 1, 0.025, 1.0),
        (500_000, 1_000_000, 0.499020, 0.500980),
    ],
)
def test_the_exact_interval_is_that_of_tables(right, n, low, high):
    assert exact_interval(right, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_exact_interval_leaves_a_fortieth_on_each_side():
    """By its definition, with the binomial tails added up term by term."""
    for n in (1, 2, 7, 40):
        for right in range(n + 1):
            low, high = exact_interval(right, n)
            terms = [[math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)] for p in (low, high)]
            assert right == 0 or sum(terms[0][right:]) == pytest.approx(0.025)
            assert right == n or sum(terms[1][: right + 1]) == pytest.approx(0.025)


def test_the_interval_of_texts_that_are_right_is_exact():
    """Draws of 36 of 37 stop at 0.919: too narrow for so few texts."""
    right = numpy.ones(37)
    right[5] = 0
    score = with_interval("accuracy", Proportion(right), 37, resamples=5)
    assert (score.value, score.how) == (pytest.approx(36 / 37), "exact")
    assert (score.low, score.high) == exact_interval(36, 37)
    own = numpy.array([4, 5, 6])
    part = with_interval("accuracy", within(Proportion(right), own, 37), 3, resamples=5)
    assert (part.value, part.low, part.high) == (pytest.approx(2 / 3), *exact_interval(2, 3))
    assert Proportion(right)(numpy.arange(37)) == pytest.approx(share(right, numpy.ones(37))(numpy.arange(37)))
    assert with_interval("F1", micro(COUNTS), 12, resamples=5).how == "bootstrap"


def test_one_doc_says_nothing_of_others():
    """All draws are that doc: the interval is not known, rather than without width."""
    score = with_interval("F1", micro(COUNTS[:1]), 1, resamples=5)
    assert 0 < score.value < 1 and math.isnan(score.low) and math.isnan(score.high)
    assert score.shown == f"{score.value:.3f} (no interval)"
    assert Score("F1", 0.5, 0.25, 0.75).shown == "0.500 (0.250 to 0.750)" and Score("F1", *[math.nan] * 3).shown == "-"
