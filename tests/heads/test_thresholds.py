"""Thresholds of labels on texts that were not seen: no worse than one for all."""

import numpy
import pytest

from spacy_transfer.heads.thresholds import LEANS, Curve, best_threshold, fit_thresholds

N, N_LABELS = 1500, 40


def texts(seed, noise):
    """Scores of labels, most of them rare. Those of a label are too high or too low as a whole, by `noise`."""
    rng = numpy.random.default_rng(seed)
    rates = numpy.exp(rng.uniform(numpy.log(0.0007), numpy.log(0.15), N_LABELS))
    truths = rng.random((2 * N, N_LABELS)) < rates
    strength = rng.uniform(1.5, 4.5, N_LABELS)
    logits = strength * (rng.normal(size=truths.shape) + strength * truths) - strength**2 / 2
    logits += numpy.log(rates / (1 - rates)) + noise * rng.normal(size=N_LABELS)
    scores = 1 / (1 + numpy.exp(-logits))
    return scores[:N], truths[:N], scores[N:], truths[N:]


def f1(scores, truths, cuts):
    said = scores >= cuts
    hits, total = (said & truths).sum(axis=0), said.sum(axis=0) + truths.sum(axis=0)
    return 2 * hits.sum() / total.sum(), (2 * hits / numpy.maximum(total, 1))[truths.any(axis=0)].mean()


@pytest.mark.parametrize("noise", [0.0, 0.7, 1.5])
def test_on_new_texts_they_are_no_worse_than_one_for_all(noise):
    gained, of_own = [], []
    for seed in range(4):
        scores, truths, new, new_truths = texts(seed, noise)
        common = best_threshold(scores.ravel(), truths.ravel())[0]
        fitted = fit_thresholds(scores, truths, numpy.ones_like(scores))
        cuts = [common if cut is None else cut for cut in fitted]
        own = [best_threshold(s, t) for s, t in zip(scores.T, truths.T, strict=True)]
        own = [common if found is None else found[0] for found in own]
        base = numpy.array(f1(new, new_truths, common))
        gained.append(f1(new, new_truths, cuts) - base)
        of_own.append(f1(new, new_truths, own) - base)
    micro, macro = numpy.mean(gained, axis=0)
    assert micro > -0.002 and macro > -0.002
    assert micro > numpy.mean(of_own, axis=0)[0] + 0.005
    assert noise < 1.5 or (micro > 0.005 and macro > 0.005)


def test_a_label_of_one_text_is_not_given_to_hundreds():
    """Each alone would take what lies above the one text that holds it, however low its score is."""
    rng = numpy.random.default_rng(0)
    truths = numpy.zeros((2000, 5), dtype=bool)
    truths[:400, 0] = truths[300:700, 1] = True
    truths[0, 2] = truths[1, 3] = truths[2, 4] = True
    scores = numpy.where(truths, rng.beta(8, 3, truths.shape), rng.beta(1, 12, truths.shape))
    scores[0, 2] = scores[1, 3] = scores[2, 4] = 0.02
    cuts = numpy.array(fit_thresholds(scores, truths, numpy.ones_like(scores)))
    assert min(cuts[2:]) > 0.2 and (scores >= cuts)[:, 2:].sum() < 60
    assert best_threshold(scores[:, 2], truths[:, 2])[0] < 0.3


def test_what_says_nothing_and_what_is_unknown():
    rng = numpy.random.default_rng(0)
    truths = rng.random((60, 4)) < 0.4
    truths[:, 1], truths[:, 2] = True, False
    scores, mask = rng.random((60, 4)), numpy.ones((60, 4))
    mask[:, 3] = 0.0
    found = fit_thresholds(scores, truths, mask)
    assert found[1:] == [None] * 3 and 0.0 <= found[0] <= 1.0
    assert fit_thresholds(scores, truths * 0, mask) == [None] * 4
    assert fit_thresholds(scores[:0], truths[:0], mask[:0]) == [None] * 4
    # What is not known does not count, whatever stands there.
    other = truths.copy()
    other[:, 3] = ~other[:, 3]
    assert fit_thresholds(scores, other, mask) == found


def test_the_curve_is_the_plain_count():
    rng = numpy.random.default_rng(0)
    scores, holds = rng.integers(0, 10, 50) / 10, rng.random(50) < 0.4
    curve = Curve(scores, holds)
    for cut, n, hits in zip(curve.cuts, *curve.at(curve.cuts), strict=True):
        assert (n, hits) == ((scores >= cut).sum(), holds[scores >= cut].sum())
    assert LEANS[0] == numpy.inf


def test_scores_that_are_not_numbers_have_no_say():
    """Sorted above all others, a NaN would become the threshold of a label that nearly always holds."""
    rng = numpy.random.default_rng(0)
    truths, scores = rng.random((40, 3)) < (0.9, 0.4, 0.3), rng.random((40, 3))
    broken = scores.copy()
    broken[::4] = numpy.nan
    mask = numpy.isfinite(broken).astype("f")
    assert fit_thresholds(broken, truths, numpy.ones_like(mask)) == fit_thresholds(scores, truths, mask)
    left = mask[:, 0] > 0
    assert best_threshold(broken[:, 0], truths[:, 0]) == best_threshold(scores[left, 0], truths[left, 0])
